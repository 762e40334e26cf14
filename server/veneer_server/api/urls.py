"""Which methods a path takes, and which path somebody meant who asked for one that is not there."""

from collections.abc import Iterator, Sequence

from starlette.routing import BaseRoute, Match, Route

_LONGEST = 200
_DEEPEST = 10


def methods_of(routes: Sequence[BaseRoute], path: str) -> list[str]:
    """Return the methods that any of ``routes`` takes at ``path``, in order; [] for no route."""
    scope = {"type": "http", "method": "GET", "path": path, "root_path": ""}
    found: set[str] = set()
    for route in routes:
        if isinstance(route, Route) and route.matches(scope)[0] is not Match.NONE:
            found |= route.methods or set()
    return sorted(found)


def add_head(routes: Sequence[BaseRoute]) -> None:
    """Let every route that takes GET take HEAD too; uvicorn then leaves the body out."""
    for route in routes:
        if isinstance(route, Route) and "GET" in (route.methods or ()):
            route.methods = {*(route.methods or ()), "HEAD"}


def explain_unknown(routes: Sequence[BaseRoute], method: str, path: str) -> str:
    """Return the sentence for a ``path`` that no route has; it names the path that was meant."""
    sentence = f"There is no {method} {_short(path)} here."
    meant = next((other for other in _similar(path) if methods_of(routes, other)), None)
    return sentence if meant is None else f"{sentence} Did you mean {_short(meant)}?"


def explain_method(routes: Sequence[BaseRoute], method: str, path: str) -> str:
    """Return the sentence for a ``path`` that has routes, but none for ``method``."""
    return f"{_short(path)} does not take {method}, only {', '.join(methods_of(routes, path))}."


def _similar(path: str) -> Iterator[str]:
    """Yield paths with /v1 put in front, left out, or once instead of twice, and no stray slash."""
    parts = [part for part in path.split("/") if part]
    for begin in range(min(len(parts), _DEEPEST)):
        rest = "/".join(parts[begin:])
        yield from (f"/v1/{rest}", f"/{rest}")


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
