"""JSON schemas: what is in them, and which ones the engine must never get. Pure functions.

llguidance follows a schema or refuses it by name, but for five things: it ignores keywords of the
oldest drafts, it takes options from the schema itself, it counts a property that is written twice,
it needs seconds and gigabytes for a few numbers, and it writes without end what can never be
complete.
"""

import math
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, TypeGuard

from referencing.jsonschema import DRAFT202012

from veneer_server.engine.base import SchemaTooComplex, UnsupportedSchema
from veneer_server.engine.vllm.constraints.endings import can_end

MOST_SUBSCHEMAS = 10_000
MOST_PROPERTIES = 2_000
"""In all objects together: llguidance's time grows with the square, 0.4 s here."""
MOST_COUNT = 10_000
"""For minItems and its kind: two nested arrays of a million take 7 s."""
MOST_MULTIPLE = 20_000
"""For the least common multiple of all multipleOf: 0.1 s here, but 10 s and 1 GB for a million."""

_COUNTS = ("minItems", "maxItems", "minProperties", "maxProperties")
_UNKNOWN = ("divisibleBy", "disallow", "extends", "x-guidance")
"""Drafts 3 and 4 say something with the first three; the last one would give llguidance orders."""
_ONE_LINE = {"whitespace_flexible": False, "item_separator": ", ?", "key_separator": ": ?"}


def check_schema(schema: Any) -> None:
    """Return if llguidance may get ``schema``; what it cannot follow, it refuses itself.

    Raises:
        UnsupportedSchema: a keyword would be ignored, or no finite answer fits.
        SchemaTooComplex: a number is over its bound.
    """
    parts = list(_subschemas(schema))
    for part in parts:
        _check_keywords(part)
    _check_multiples(parts)
    properties = sum(_count(part.get("properties")) for part in parts)
    if properties > MOST_PROPERTIES:
        raise SchemaTooComplex(
            f"The schema has {properties} properties; at most {MOST_PROPERTIES} are supported."
        )
    if isinstance(schema, Mapping) and not can_end(schema, parts):
        raise UnsupportedSchema(
            "No finite answer fits this schema: '$ref' leads back to itself with no way out."
        )


def on_one_line(schema: Any) -> Any:
    """Return ``schema`` with llguidance's options for JSON on one line, as OpenAI writes it.

    Where blanks are free, a small model may write them until its tokens run out.
    """
    if schema is True:
        schema = {}
    return {**schema, "x-guidance": _ONE_LINE} if isinstance(schema, Mapping) else schema


def _subschemas(schema: Any) -> Iterator[Mapping[str, Any]]:
    waiting, seen = [schema], 0
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):  # a tuple, as in draft 7
            waiting.extend(part)
        if not isinstance(part, Mapping):
            continue
        seen += 1
        if seen > MOST_SUBSCHEMAS:
            raise SchemaTooComplex(f"The schema has more than {MOST_SUBSCHEMAS} schemas inside it.")
        yield part
        try:
            waiting.extend(DRAFT202012.subresources_of(part))
        except (AttributeError, TypeError):
            continue  # malformed, as llguidance will say


def _check_keywords(part: Mapping[str, Any]) -> None:
    for name in _UNKNOWN:
        if name in part:
            raise UnsupportedSchema(f"The schema's keyword '{name}' is not supported.")
    for name in _COUNTS:
        if _is_number(part.get(name)) and part[name] > MOST_COUNT:
            raise SchemaTooComplex(f"'{name}' is {part[name]}; at most {MOST_COUNT} is supported.")
    least = part.get("minProperties")
    if _is_number(least) and least > max(1, _count(part.get("required"))):
        raise UnsupportedSchema(
            "The schema's keyword 'minProperties' is supported up to the number of 'required'"
            " properties: the engine would count a name that is written twice."
        )


def _check_multiples(parts: list[Mapping[str, Any]]) -> None:
    found = {part["multipleOf"] for part in parts if _is_number(part.get("multipleOf"))}
    multiples = [Decimal(str(value)) for value in found if value > 0 and math.isfinite(value)]
    if not multiples:
        return
    scale = min(0, *(int(value.as_tuple().exponent) for value in multiples))
    if max(value.adjusted() for value in multiples) - scale > len(str(MOST_MULTIPLE)):
        least = MOST_MULTIPLE + 1
    else:
        least = math.lcm(*(int(value.scaleb(-scale)) for value in multiples))
    if least > MOST_MULTIPLE:
        raise SchemaTooComplex(
            "The numbers of 'multipleOf' are too large or too different to be kept together."
        )


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _count(names: Any) -> int:
    return len(names) if isinstance(names, Mapping | list) else 0
