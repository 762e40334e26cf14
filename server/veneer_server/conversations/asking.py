"""What a request says about state. Pure functions.

Source: https://platform.openai.com/docs/api-reference/responses/create
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from veneer_server.conversations.errors import StateRefused
from veneer_server.conversations.items import references

STATE_MEMBERS = frozenset({"background", "conversation", "previous_response_id", "store"})
"""Members of a request that an engine never gets."""


class Keep(Enum):
    """Whether the response is kept."""

    NO = "no"
    BY_DEFAULT = "by default"
    """The request does not say. When it cannot be kept, the answer says that it is not."""
    ASKED = "asked"
    """The request needs it. When it cannot be kept, the request fails."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What one request says about state."""

    keep: Keep
    background: bool
    previous: str | None
    """The response to go on from."""
    conversation: str | None
    references: tuple[str, ...]
    """The items that ``input`` names by their id."""


def read_state(body: Mapping[str, Any], *, by_default: bool) -> Asked:
    """Return what ``body`` says about state; it is kept ``by_default`` where it does not say.

    Raises:
        StateRefused: members contradict each other, or have an impossible type.
    """
    background = _boolean(body, "background")
    store = _boolean(body, "store")
    asked = Asked(
        _keep(store, by_default=by_default, background=bool(background)),
        bool(background),
        _text(body.get("previous_response_id"), "previous_response_id"),
        _conversation(body.get("conversation")),
        tuple(references(body.get("input"))),
    )
    if asked.previous is not None and asked.conversation is not None:
        raise StateRefused(
            "Mutually exclusive parameters: 'previous_response_id' and 'conversation'. Ensure you"
            " are only providing one of them.",
            param="previous_response_id",
        )
    if asked.background and store is False:
        raise StateRefused("Background mode requires 'store' to be true.", param="background")
    return asked


def _keep(store: bool | None, *, by_default: bool, background: bool) -> Keep:
    if store or background:
        return Keep.ASKED
    return Keep.BY_DEFAULT if store is None and by_default else Keep.NO


def _boolean(body: Mapping[str, Any], name: str) -> bool | None:
    value = body.get(name)
    if value is None or isinstance(value, bool):
        return value
    raise StateRefused(f"Invalid type for '{name}': expected a boolean.", param=name)


def _text(value: Any, param: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise StateRefused(f"Invalid type for '{param}': expected a string.", param=param)


def _conversation(value: Any) -> str | None:
    if isinstance(value, Mapping):
        value = value.get("id", 0)
    return _text(value, "conversation")
