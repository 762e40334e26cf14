"""Whether an answer to a JSON schema can ever be complete. Pure functions."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT201909, DRAFT202012

_Part = Mapping[str, Any]
_Resolver = Any


def can_end(schema: _Part, parts: Sequence[_Part]) -> bool:
    """Return whether a finite answer may fit ``schema``.

    False is certain, True is not. ``parts`` are the schema and all schemas inside it.
    """
    resolver, known = _resolver_of(schema), {id(part) for part in parts}
    if resolver is None:
        return True
    clauses = {
        id(part): [clause for clause in _clauses(part, resolver) if clause <= known]
        for part in parts
    }
    return id(schema) in _ending(clauses)


def _ending(clauses: Mapping[int, Sequence[set[int]]]) -> set[int]:
    """Return the parts that can end: those of which each clause has a part that can end.

    A part that waits for itself is never reached.
    """
    waiting = {part: set(range(len(needs))) for part, needs in clauses.items()}
    watchers: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
    for part, needs in clauses.items():
        for number, options in enumerate(needs):
            for option in options:
                watchers[option].append((part, number))
    ready = [part for part, left in waiting.items() if not left]
    ended: set[int] = set()
    while ready:
        ended.add(ending := ready.pop())
        for part, number in watchers.pop(ending, ()):
            waiting[part].discard(number)
            if not waiting[part]:
                ready.append(part)
    return ended


def _resolver_of(schema: _Part) -> _Resolver:
    """Return what finds the target of a ``$ref``, None when the schema is malformed."""
    for draft in (DRAFT202012, DRAFT201909):
        resource = draft.create_resource(schema)
        with suppress(AttributeError, TypeError):
            return Registry().with_resource("", resource).crawl().resolver()
    return None


def _clauses(part: _Part, resolver: _Resolver) -> Iterator[set[int]]:
    for needed in (*_list(part, "allOf"), *_target(part, resolver), *_members(part)):
        yield from _clause([needed])
    for name in ("anyOf", "oneOf"):
        if options := _list(part, name):
            yield from _clause(options)


def _clause(options: Iterable[Any]) -> Iterator[set[int]]:
    # True, False and what is malformed wait for nothing.
    if all(isinstance(option, Mapping) for option in options):
        yield {id(option) for option in options}


def _target(part: _Part, resolver: _Resolver) -> list[Any]:
    if not isinstance(part.get("$ref"), str):
        return []
    try:
        return [resolver.lookup(part["$ref"]).contents]
    except (Unresolvable, ValueError, AttributeError, TypeError):
        return []  # as llguidance will say


def _members(part: _Part) -> Iterator[Any]:
    properties, least = part.get("properties"), part.get("minItems")
    if part.get("type") == "object" and isinstance(properties, Mapping):
        yield from (properties.get(name) for name in map(str, _list(part, "required")))
    if part.get("type") == "array" and isinstance(least, int):
        first = _list(part, "prefixItems") or _list(part, "items")
        yield from first[:least]
        if least > len(first):
            yield part.get("items")


def _list(part: _Part, name: str) -> list[Any]:
    value = part.get(name)
    return [entry for entry in value if entry is not None] if isinstance(value, list) else []
