"""Bodies of the admin routes: strict, and every fault one sentence that names its field."""

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from veneer_adapters.names import is_alias_name
from veneer_server.api.errors import InvalidRequest


class Body(BaseModel):
    """A JSON object with known fields only."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


B = TypeVar("B", bound=Body)


def parse(kind: type[B], body: dict[str, Any]) -> B:
    """Return ``body`` as a ``kind``.

    Raises:
        InvalidRequest: a field is missing, unknown or of the wrong type; names the first.
    """
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        fault = error.errors()[0]
        field = ".".join(str(part) for part in fault["loc"])
        if fault["type"] == "extra_forbidden":
            raise InvalidRequest(f"There is no field '{field}'.", param=field) from None
        raise InvalidRequest(f"'{field}': {fault['msg']}", param=field or None) from None


def require_alias_name(alias: str) -> str:
    """Return ``alias``, which can be one.

    Raises:
        InvalidRequest: it could be taken for a number or a digest, or is too long.
    """
    if not is_alias_name(alias):
        raise InvalidRequest(
            "an alias begins with a letter and has up to 63 letters, digits, '.', '_', '-'",
            param="alias",
        )
    return alias
