"""Bodies of the admin routes. They are strict, and every error message names the field."""

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from veneer_adapters.names import is_alias_name
from veneer_server.api.deps import with_body
from veneer_server.api.errors import InvalidRequest


class Body(BaseModel):
    """A JSON object without unknown fields; its values are never converted to another type."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


B = TypeVar("B", bound=Body)


def parse(kind: type[B], body: dict[str, Any]) -> B:
    """Return ``body`` as a ``kind``.

    Raises:
        InvalidRequest: a field is missing, unknown or wrong; the message names the first one.
    """
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        fault = error.errors()[0]
        field = ".".join(str(part) for part in fault["loc"])
        if fault["type"] == "extra_forbidden":
            raise InvalidRequest(f"There is no field '{field}'.", param=field) from None
        raise InvalidRequest(f"'{field}': {fault['msg']}", param=field or None) from None


def described(kind: type[Body]) -> dict[str, Any]:
    """Return what a route adds to its description for a body of ``kind``."""
    schema = kind.model_json_schema()
    return with_body(_inlined(schema, schema.pop("$defs", {})))


def _inlined(node: Any, parts: dict[str, Any]) -> Any:
    # A reference would begin at the root of the document in which the schema will stand.
    if isinstance(node, list):
        return [_inlined(one, parts) for one in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return _inlined(parts[node["$ref"].rpartition("/")[2]], parts)
    return {key: _inlined(value, parts) for key, value in node.items()}


def require_alias_name(alias: str) -> str:
    """Return ``alias`` if it can name an alias.

    Raises:
        InvalidRequest: it could be a number or a digest, has other characters, or is too long.
    """
    if not is_alias_name(alias):
        raise InvalidRequest(
            "An alias must begin with a letter and have at most 63 characters:"
            " letters, digits, '.', '_' and '-'.",
            param="alias",
        )
    return alias
