"""Which methods a path takes, and which path somebody meant who asked for one that is not there."""

from collections.abc import Iterator, Sequence

from starlette.routing import BaseRoute, Match, Route

_LONGEST = 200
_DEEPEST = 10


def methods_of(routes: Sequence[BaseRoute], path: str) -> list[str]:
    """Return the methods that any of ``routes`` takes at ``path``, in order; [] for no route."""
    scope = {"type": "http", "method": "GET", "path": path, "root_path": ""}
    known = [route for route in routes if isinstance(route, Route)]
    found = [route for route in known if route.matches(scope)[0] is not Match.NONE]
    # The path of an action also fits the pattern of names, of which it is none.
    exact = [route for route in found if route.path == path] or found
    return sorted({method for route in exact for method in route.methods or ()})


def add_head(routes: Sequence[BaseRoute]) -> None:
    """Let every route that takes GET take HEAD too; uvicorn then leaves the body out."""
    for route in routes:
        if isinstance(route, Route) and "GET" in (route.methods or ()):
            route.methods = {*(route.methods or ()), "HEAD"}


def explain_unknown(routes: Sequence[BaseRoute], method: str, path: str) -> str:
    """Return the sentence for a ``path`` that no route has; it names the path that was meant."""
    sentence = f"There is no {method} {_short(path)} here."
    meant = next((other for other in _similar(path) if methods_of(routes, other)), None)
    if meant is not None:
        return f"{sentence} Did you mean {_short(meant)}?"
    told = _ABSENT.get(_area(path))
    return sentence if told is None else f"{sentence} {told}"


def explain_method(routes: Sequence[BaseRoute], method: str, path: str) -> str:
    """Return the sentence for a ``path`` that has routes, but none for ``method``."""
    return f"{_short(path)} does not take {method}, only {', '.join(methods_of(routes, path))}."


_KINDS = {
    "audio": "This server serves a text model, which neither hears nor speaks.",
    "embeddings": "This server serves a model that writes text, not one of embeddings.",
    "images": "This server serves a text model, which makes no images.",
    "moderations": "This server serves no moderation model.",
    "rerank": "This server serves a model that writes text, not a reranker.",
    "score": "This server serves a model that writes text, not a reranker.",
    "videos": "This server serves a text model, which makes no videos.",
}
"""OpenAI's and others' routes to models of another kind, and what to say of each."""
_ABSENT = {
    "assistants": "This server runs no assistants; use /v1/responses.",
    "containers": "This server runs no code.",
    "realtime": "This server speaks HTTP only; use /v1/responses with 'stream'.",
    "threads": "This server stores no threads; use /v1/responses.",
    "uploads": "This server takes a file whole; use POST /v1/files.",
    "vector_stores": "This server stores no vectors.",
}
"""OpenAI's routes to its platform, and what to do instead."""


def explain_unserved(method: str, path: str) -> str | None:
    """Return the sentence for a route of OpenAI's to another kind of model, None for any other."""
    told = _KINDS.get(_area(path))
    return None if told is None else f"There is no {method} {_short(path)} here. {told}"


def _area(path: str) -> str:
    parts = [part for part in path[:_LONGEST].split("/") if part and part != "v1"]
    return parts[0] if parts else ""


def _similar(path: str) -> Iterator[str]:
    """Yield paths with /v1 put in front, left out, or once instead of twice, and no stray slash."""
    parts = [part for part in path.split("/") if part]
    for begin in range(min(len(parts), _DEEPEST)):
        rest = "/".join(parts[begin:])
        yield from (f"/v1/{rest}", f"/{rest}")


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
