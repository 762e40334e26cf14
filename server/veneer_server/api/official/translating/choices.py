"""``tool_choice`` of the type ``allowed_tools``: the model may call only some of the tools.

vLLM's chat refuses it, and its Responses ignore it. Leaving the other tools out means the same.
"""

from collections.abc import Mapping
from typing import Any

from veneer_server.api.errors import InvalidRequest

_PLACE = "tool_choice"


def is_allowed_tools(choice: Any) -> bool:
    """Return whether ``choice`` names the tools that may be called."""
    return isinstance(choice, Mapping) and choice.get("type") == "allowed_tools"


def only_allowed(body: dict[str, Any]) -> dict[str, Any]:
    """Return ``body`` with only the tools that ``tool_choice`` allows, and its mode instead.

    Raises:
        InvalidRequest: it is malformed, or allows a tool that is not there.
    """
    choice = body.get(_PLACE)
    if not isinstance(choice, Mapping) or not is_allowed_tools(choice):
        return body
    # A chat has an object of its own around the two members, Responses have not.
    nested = choice.get("allowed_tools")
    inner, place = (nested, f"{_PLACE}.allowed_tools") if nested is not None else (choice, _PLACE)
    if not isinstance(inner, Mapping):
        raise InvalidRequest(f"Invalid '{place}': expected an object.", param=place)
    mode = inner.get("mode")
    if mode not in ("auto", "required"):
        raise InvalidRequest(
            f"Invalid '{place}.mode': expected 'auto' or 'required'.", param=f"{place}.mode"
        )
    tools = _named(body.get("tools"), inner.get("tools"), f"{place}.tools")
    return {**body, "tools": tools, _PLACE: mode}


def _named(tools: Any, allowed: Any, place: str) -> list[Any]:
    given = tools if isinstance(tools, list) else []
    if not isinstance(allowed, list) or not allowed:
        raise InvalidRequest(f"Invalid '{place}': expected a list of tools.", param=place)
    there = {_name(tool) for tool in given}
    names = [_name(tool) for tool in allowed]
    for index, name in enumerate(names):
        if name is None or name not in there:
            raise InvalidRequest(
                f"Invalid '{place}[{index}]': 'tools' has no such tool.", param=f"{place}[{index}]"
            )
    return [tool for tool in given if _name(tool) in names]


def _name(tool: Any) -> str | None:
    if not isinstance(tool, Mapping):
        return None
    function = tool.get("function")
    name = (function if isinstance(function, Mapping) else tool).get("name")
    return name if isinstance(name, str) else None
