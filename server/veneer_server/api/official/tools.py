"""A forced tool call always follows the schema of its parameters. Pure functions.

A call is forced when the client requires a call or names the tool. vLLM always constrains the
form of a forced call, but it constrains the arguments only when the tool says ``strict``;
otherwise a small model writes any JSON (vLLM 0.32, tool_strict_level ``auto``). So this file
makes forced calls strict, whatever the server's level. Calls that the model is free to make stay
as the client wants them: a grammar refuses odd schemas that do no harm in a prompt.
"""

from collections.abc import Callable, Mapping
from typing import Any

from veneer_server.api.errors import UnsupportedParameter
from veneer_server.engine.base import Endpoint

_NO_ARGUMENTS: dict[str, Any] = {"type": "object", "properties": {}, "enum": [{}]}
"""A schema that only ``{}`` fits. Without the enum, a small model writes blanks between the braces
until its tokens run out."""


def without_empty_tools(body: dict[str, Any]) -> dict[str, Any]:
    """Return ``body`` without an empty list of tools: OpenAI accepts one, vLLM does not."""
    if body.get("tools") != []:
        return body
    spare = {"tools", "parallel_tool_calls"}
    if body.get("tool_choice") in ("auto", "none"):
        spare.add("tool_choice")
    return {key: value for key, value in body.items() if key not in spare}


def hold_schema(endpoint: Endpoint, body: dict[str, Any]) -> dict[str, Any]:
    """Return ``body``, changed so that a forced call must follow its parameters' schema.

    Raises:
        UnsupportedParameter: a tool of a Responses request is not a function; vLLM would leave
            it out silently.
    """
    tools = body.get("tools")
    if not isinstance(tools, list):
        return body
    if endpoint is Endpoint.RESPONSES:
        _refuse_hosted(tools)
    if endpoint not in _TO_STRICT or not _is_forced(body.get("tool_choice")):
        return body
    to_strict = _TO_STRICT[endpoint]
    # Malformed tools stay as they are, so that vLLM says what is wrong with them.
    made = [to_strict(tool) if isinstance(tool, dict) else tool for tool in tools]
    return {**body, "tools": made}


def _refuse_hosted(tools: list[Any]) -> None:
    for index, tool in enumerate(tools):
        if isinstance(tool, dict) and tool.get("type") != "function":
            raise UnsupportedParameter(
                f"Unsupported tool type: {tool.get('type')!r}; this server supports only"
                " 'function'.",
                param=f"tools[{index}].type",
            )


def _is_forced(choice: Any) -> bool:
    if isinstance(choice, dict):
        return choice.get("type") in ("function", "any", "tool")
    return bool(choice == "required")


def _chat(tool: dict[str, Any]) -> dict[str, Any]:
    function = tool.get("function")
    if not isinstance(function, dict):
        return tool
    return {**tool, "function": _strict(function, "parameters")}


def _responses(tool: dict[str, Any]) -> dict[str, Any]:
    return _strict(tool, "parameters")


def _messages(tool: dict[str, Any]) -> dict[str, Any]:
    return _strict(tool, "input_schema")


_TO_STRICT: Mapping[Endpoint, Callable[[dict[str, Any]], dict[str, Any]]] = {
    Endpoint.CHAT: _chat,
    Endpoint.RESPONSES: _responses,
    Endpoint.MESSAGES: _messages,
}


def _strict(tool: dict[str, Any], member: str) -> dict[str, Any]:
    schema = tool.get(member)
    if not schema or (isinstance(schema, dict) and _takes_nothing(schema)):
        schema = _NO_ARGUMENTS
    return {**tool, member: schema, "strict": True}


def _takes_nothing(schema: Mapping[str, Any]) -> bool:
    spare = {"$schema", "type", "title", "description", "required"}
    rest = {key: value for key, value in schema.items() if key not in spare}
    return rest.pop("additionalProperties", False) is False and rest == {"properties": {}}
