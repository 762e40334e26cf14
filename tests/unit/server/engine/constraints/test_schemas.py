"""What a schema may hold, before a grammar is made of it: in bounds, and never without an end."""

from typing import Any

import pytest

from support.asked import need
from veneer_server.engine.base import SchemaTooComplex, UnsupportedSchema

pytestmark = pytest.mark.engine

schemas = need("veneer_server.engine.vllm.constraints.schemas")

INTEGER = {"type": "integer"}


def an_object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
        an_object(next={"$ref": "#"}),
        an_object(next={"anyOf": [{"$ref": "#"}, an_object(other={"$ref": "#"})]}),
        {"type": "array", "minItems": 1, "items": {"$ref": "#"}},
        {"type": "array", "minItems": 2, "prefixItems": [INTEGER, {"$ref": "#"}]},
        {"allOf": [INTEGER, {"$ref": "#"}]},
        {"$anchor": "me", "allOf": [{"$ref": "#me"}]},
    ],
)
def test_a_schema_that_no_answer_can_complete_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedSchema, match="No finite answer"):
        schemas.check_schema(schema)


@pytest.mark.parametrize(
    "schema",
    [
        True,
        an_object(next={"anyOf": [{"$ref": "#"}, {"type": "null"}]}),
        {"type": "object", "properties": {"next": {"$ref": "#"}}},
        {"type": "array", "items": {"$ref": "#"}},
        {"type": "array", "minItems": 1, "prefixItems": [INTEGER], "items": {"$ref": "#"}},
        {"$ref": "https://example.org/elsewhere.json"},
        {"$ref": "#/$defs/missing"},
        {"anyOf": [True, {"$ref": "#"}]},
        {"allOf": 3, "properties": [], "required": "x", "$ref": 5, "items": None, "anyOf": [None]},
    ],
)
def test_a_schema_with_a_way_out_is_left_to_the_grammar(schema: Any) -> None:
    schemas.check_schema(schema)


@pytest.mark.parametrize("name", ["minItems", "maxItems", "minProperties", "maxProperties"])
def test_a_count_is_bounded_exactly(name: str) -> None:
    names = [str(n) for n in range(schemas.MOST_COUNT)]
    schemas.check_schema({"items": {name: schemas.MOST_COUNT, "required": names}})
    with pytest.raises(SchemaTooComplex, match=f"'{name}' is {schemas.MOST_COUNT + 1}"):
        schemas.check_schema({"items": {name: schemas.MOST_COUNT + 1}})


def test_a_least_number_of_properties_is_kept_only_as_far_as_names_are_required() -> None:
    schemas.check_schema({"minProperties": 1})
    schemas.check_schema({"minProperties": 2, "required": ["a", "b"]})
    with pytest.raises(UnsupportedSchema, match="'minProperties'"):
        schemas.check_schema({"minProperties": 2, "required": ["a"]})


@pytest.mark.parametrize("values", [[20_000], [0.01, 100], [99, 101], [0.25, 5, 7]])
def test_multiples_that_can_be_kept_together_are_taken(values: list[float]) -> None:
    schemas.check_schema({"anyOf": [{"multipleOf": value} for value in values]})


@pytest.mark.parametrize("values", [[20_001], [0.01, 1000], [199, 211], [1e300], [9999.9999]])
def test_multiples_that_would_take_seconds_are_refused(values: list[float]) -> None:
    with pytest.raises(SchemaTooComplex, match="multipleOf"):
        schemas.check_schema({"anyOf": [{"multipleOf": value} for value in values]})


def test_properties_are_bounded_in_all_objects_together() -> None:
    def two(count: int) -> dict[str, Any]:
        return an_object(**{f"p{n}": INTEGER for n in range(count - 1)}, more=an_object(a=True))

    schemas.check_schema(two(schemas.MOST_PROPERTIES - 1))
    with pytest.raises(SchemaTooComplex, match="properties"):
        schemas.check_schema(two(schemas.MOST_PROPERTIES))


def test_the_schemas_inside_a_schema_are_bounded() -> None:
    schemas.check_schema({"anyOf": [{} for _ in range(schemas.MOST_SUBSCHEMAS - 1)]})
    with pytest.raises(SchemaTooComplex, match="schemas inside"):
        schemas.check_schema({"anyOf": [{} for _ in range(schemas.MOST_SUBSCHEMAS)]})


@pytest.mark.parametrize("name", ["divisibleBy", "disallow", "extends", "x-guidance"])
def test_a_keyword_that_would_be_ignored_is_refused_by_name(name: str) -> None:
    with pytest.raises(UnsupportedSchema, match=name):
        schemas.check_schema(an_object(a={name: {}}))


def test_the_name_of_a_property_is_no_keyword() -> None:
    schemas.check_schema(an_object(divisibleBy=INTEGER, minItems=INTEGER))
    schemas.check_schema({"const": {"minItems": 10**9}, "default": {"extends": 1}})
