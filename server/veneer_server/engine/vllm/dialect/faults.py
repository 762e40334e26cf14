"""Which of pydantic's many errors about one value is the fault that a client made. Pure functions.

Where a value may be one of several kinds, pydantic tells what is wrong with it as each of them. A
place then names the kinds too, which no client wrote.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from veneer_server.engine.vllm.fields import path_of, prompt_of, written

_TELLS = frozenset({"role", "type"})
"""Members that tell of which kind an object is."""
_NAMELESS = "function-"
"""Begins what pydantic calls a kind that a function checks: several kinds share the name."""


class Fault(NamedTuple):
    """One error, at its place in the body."""

    kind: tuple[Any, ...]
    """The place down to the last kind that it names; () if it names none."""
    path: tuple[str, ...]
    is_missing: bool
    tells_other: bool
    """Whether it only says that the object is of another kind."""
    message: str


def to_message(errors: Iterable[Mapping[str, Any]], body: Mapping[str, Any]) -> tuple[str, str]:
    """Return the place of the fault in ``body``, and what is wrong there."""
    faults = [_fault(error, body) for error in errors]
    meant = list(_meant(faults))
    found = _meant_most(meant)
    other = _deepest(one for one in faults if one.tells_other)
    if other is not None and (found is None or len(found.path) < len(other.path)):
        return path_of(other.path), "it is none of the values that are known here"
    return (path_of(found.path), found.message) if found is not None else ("", "")


def _deepest(faults: Iterable[Fault]) -> Fault | None:
    # A member that another kind of body would have is missing only if nothing else is wrong.
    return max(
        faults,
        key=lambda one: (len(one.path), not (one.is_missing and len(one.path) == 1)),
        default=None,
    )


def _meant_most(faults: list[Fault]) -> Fault | None:
    # Where it is not said of which kind the value is, a kind that need not be told comes first.
    untold = [one for one in faults if one.is_missing and {*one.path[-1:]} & _TELLS]
    told = [one for one in faults if not any(_is_in(one, other.kind) for other in untold)]
    found = _deepest(told)
    if untold and (found is None or len(found.path) < len(untold[0].path)):
        return untold[0]
    return found or _deepest(faults)


def _is_in(fault: Fault, kind: tuple[Any, ...]) -> bool:
    return fault.kind[: len(kind)] == kind


def _meant(faults: list[Fault]) -> Iterator[Fault]:
    """Yield the faults that are not those of another kind than the one that was meant."""
    others = {one.kind for one in faults if one.tells_other}
    shared = {kind for kind in others if str(kind[-1]).startswith(_NAMELESS)}
    begun: set[tuple[Any, ...]] = set()
    for fault in faults:
        if fault.tells_other:
            begun.add(fault.kind)
        # Kinds that share a name come one after the other, and each says first what it is.
        left_out = (others - shared) | begun
        if not any(_is_in(fault, kind) for kind in left_out):
            yield fault


def _fault(error: Mapping[str, Any], body: Mapping[str, Any]) -> Fault:
    place, is_missing = tuple(error["loc"]), error["type"] == "missing"
    kind = _kind(place[:-1] if is_missing else place, body)
    path = tuple(_path(place, body, is_missing=is_missing))
    tells_other = bool(kind and error["type"] == "literal_error" and {*path[-1:]} & _TELLS)
    return Fault(kind, path, is_missing, tells_other, error["msg"])


def _path(
    place: tuple[str | int, ...], body: Mapping[str, Any], *, is_missing: bool
) -> Iterator[str]:
    found = written(body, place)
    yield from found
    if is_missing and (found or all(str(part).startswith(_NAMELESS) for part in place[:-1])):
        yield str(place[-1])
    # vLLM checks a part of a message once more on its own, so that its place is not known.
    elif not found and place and (prompt := prompt_of(body)) is not None:
        yield prompt


def _kind(place: tuple[str | int, ...], body: Mapping[str, Any]) -> tuple[Any, ...]:
    known = [len(written(body, place[:end])) for end in range(len(place) + 1)]
    labels = [end for end in range(1, len(place) + 1) if known[end] == known[end - 1]]
    return place[: labels[-1]] if labels else ()
