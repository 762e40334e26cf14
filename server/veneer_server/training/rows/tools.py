"""The functions that a row offers, and the calls of them. Pure functions."""

import json
import re
from collections.abc import Collection
from typing import Any

from veneer_server.training.rows.bounds import MOST_CALLS, MOST_TOOLS
from veneer_server.training.rows.faults import InvalidRow
from veneer_server.training.rows.members import an_object, array, refuse_unknown, short, text

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_FUNCTION = ("name", "description", "parameters", "strict")


def read_tools(found: Any) -> list[dict[str, Any]]:
    """Return the tools of a row, as a chat request has them; an absent member is none.

    Raises:
        InvalidRow: they are not functions, each with a name of its own.
    """
    if found is None:
        return []
    tools = array(found, "tools", MOST_TOOLS)
    names = [_read_tool(tool, f"tools[{index}]") for index, tool in enumerate(tools)]
    if len(set(names)) != len(names):
        raise InvalidRow("'tools' has two functions of the same name")
    return tools


def names_of(tools: list[dict[str, Any]]) -> frozenset[str]:
    """Return the names of the functions."""
    return frozenset(tool["function"]["name"] for tool in tools)


def read_calls(found: Any, path: str, offered: Collection[str]) -> list[str]:
    """Return the ids of the tool calls of one message.

    Raises:
        InvalidRow: one is not the call of an offered function with a JSON object as arguments.
    """
    calls = array(found, path, MOST_CALLS)
    return [_read_call(call, f"{path}[{index}]", offered) for index, call in enumerate(calls)]


def _read_tool(found: Any, path: str) -> str:
    tool = an_object(found, path)
    refuse_unknown(tool, ("type", "function"), path)
    _require_function(tool, path)
    function = an_object(tool.get("function"), f"{path}.function")
    refuse_unknown(function, _FUNCTION, f"{path}.function")
    if "parameters" in function:
        an_object(function["parameters"], f"{path}.function.parameters")
    name = text(function.get("name"), f"{path}.function.name")
    if not _NAME.fullmatch(name):
        raise InvalidRow(
            f"'{path}.function.name' is {short(name)}; it may have 1 to 64 letters, digits,"
            " underscores and hyphens"
        )
    return name


def _read_call(found: Any, path: str, offered: Collection[str]) -> str:
    call = an_object(found, path)
    refuse_unknown(call, ("id", "type", "function"), path)
    _require_function(call, path)
    function = an_object(call.get("function"), f"{path}.function")
    refuse_unknown(function, ("name", "arguments"), f"{path}.function")
    name = text(function.get("name"), f"{path}.function.name")
    if name not in offered:
        raise InvalidRow(f"'{path}' calls {short(name)}, which 'tools' does not offer")
    _require_arguments(function.get("arguments"), f"{path}.function.arguments")
    return text(call.get("id"), f"{path}.id")


def _require_function(found: dict[str, Any], path: str) -> None:
    if found.get("type") != "function":
        raise InvalidRow(f"'{path}.type' must be 'function'")


def _require_arguments(found: Any, path: str) -> None:
    try:
        parsed = json.loads(text(found, path))
    except (ValueError, RecursionError):
        raise InvalidRow(f"'{path}' is not JSON") from None
    if not isinstance(parsed, dict):
        raise InvalidRow(f"'{path}' must be a JSON object, written as a text")
