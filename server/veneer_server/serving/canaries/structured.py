"""The structure that a request asks for, and whether an answer has it.

The functions are pure and slow, so run them in a thread. Schemas come from clients. So this file
fetches nothing and runs no regular expression of a client: it ignores ``pattern``, and it cannot
judge a schema with ``patternProperties``. The work for one answer is bounded in steps. An answer
that cannot be judged counts neither as kept nor as broken.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import orjson
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.validators import extend
from referencing import Registry
from referencing.exceptions import Unresolvable

from veneer_adapters.canaries.tally import Ending
from veneer_server.engine.base import Endpoint

MOST_SCHEMA_BYTES = 32 * 1024
MOST_STEPS = 20_000
"""Steps for one answer, about half a second: a keyword costs one, and one more per member."""
_UNBOUNDED = (b'"patternProperties"', b'"$schema"')
"""Words that make a schema unusable. ``$schema`` inside a schema would choose a validator without
bounds."""

_left: ContextVar[int] = ContextVar("left")

_Keyword = Callable[[Any, Any, Any, Any], Iterable[ValidationError] | None]


@dataclass(frozen=True, slots=True)
class Structure:
    """What an answer must be."""

    schema: Mapping[str, Any] | None
    """None means any JSON object."""


class _TooMuch(Exception):
    """Judging this answer takes more than ``MOST_STEPS`` steps."""


_UNUSABLE = (
    _TooMuch, RecursionError, Unresolvable,
    ArithmeticError, AttributeError, LookupError, TypeError, ValueError,
)  # fmt: skip
"""What jsonschema raises for an unusable schema. The list is long because a reference in a schema
may lead to anything."""


def structure_of(endpoint: Endpoint, body: Mapping[str, Any]) -> Structure | None:
    """Return the structure that ``body`` asks for, None when it asks for text."""
    if endpoint is Endpoint.RESPONSES:
        text = body.get("text")
        wanted = text.get("format") if isinstance(text, dict) else None
        named = wanted
    else:
        wanted = body.get("response_format")
        named = wanted.get("json_schema") if isinstance(wanted, dict) else None
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if kind == "json_object":
        return Structure(None)
    schema = named.get("schema") if isinstance(named, dict) else None
    return Structure(schema) if kind == "json_schema" and isinstance(schema, dict) else None


def judge(structure: Structure, texts: Iterable[str]) -> Ending:
    """Return how an answer with ``texts`` ends.

    BROKEN means that one text breaks the structure, KEPT that all keep it, and ANSWERED that
    nobody can tell.
    """
    found = [_keeps(structure, text) for text in texts]
    if False in found:
        return Ending.BROKEN
    return Ending.KEPT if found and all(found) else Ending.ANSWERED


def _keeps(structure: Structure, text: str) -> bool | None:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    if structure.schema is None:
        return isinstance(value, dict)
    rest = {name: part for name, part in structure.schema.items() if name != "$schema"}
    _left.set(MOST_STEPS)
    try:
        validator = _validator(orjson.dumps(rest))
        if validator is None:
            return None
        return bool(validator.is_valid(value))
    except _UNUSABLE:
        return None


@lru_cache(64)
def _validator(schema: bytes) -> Any:
    """Return a validator for ``schema``, None when the schema is unusable."""
    if len(schema) > MOST_SCHEMA_BYTES or any(word in schema for word in _UNBOUNDED):
        return None
    known = orjson.loads(schema)
    try:
        Draft202012Validator.check_schema(known)
    except (SchemaError, RecursionError):
        return None
    return _Bounded(known, registry=Registry())


def _bounded(
    keyword: _Keyword, validator: Any, value: Any, instance: Any, schema: Any
) -> Iterator[ValidationError]:
    left = _left.get() - 1 - (len(value) if isinstance(value, list | dict) else 0)
    _left.set(left)
    if left < 0:
        raise _TooMuch
    yield from keyword(validator, value, instance, schema) or ()


def _unique(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    # Where jsonschema cannot sort, it compares every pair; a pair costs a twentieth of a step.
    pairs = len(instance) ** 2 if isinstance(instance, list) else 0
    _left.set(_left.get() - pairs // 20)
    yield from _bounded(_KEYWORDS["uniqueItems"], validator, value, instance, schema)


def _nothing(validator: Any, value: Any, instance: Any, schema: Any) -> None:
    """Accept everything."""


_KEYWORDS: Mapping[str, _Keyword] = Draft202012Validator.VALIDATORS
_Bounded: Any = extend(
    Draft202012Validator,
    {name: partial(_bounded, keyword) for name, keyword in _KEYWORDS.items()}
    | {"uniqueItems": _unique, "pattern": _nothing},
)
