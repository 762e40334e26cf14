"""Rows of training files, as people write them."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

TOOL = {
    "type": "function",
    "function": {"name": "add", "parameters": {"type": "object", "properties": {}}},
}
CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{}"}}


def said(role: str, content: Any = "hi", **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def chat(*messages: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"messages": list(messages) or [said("user"), said("assistant", "yo")], **more}


def called(**more: Any) -> dict[str, Any]:
    """A row that offers a function, calls it, and answers."""
    asking = {"role": "assistant", "content": None, "tool_calls": [CALL], **more}
    result = {"role": "tool", "content": "3", "tool_call_id": "c1"}
    return chat(said("user"), asking, result, said("assistant", "three"), tools=[TOOL])


def preference(**more: Any) -> dict[str, Any]:
    better, other = [said("assistant", "good")], [said("assistant", "bad")]
    row = {"preferred_output": better, "non_preferred_output": other}
    return {"input": {"messages": [said("user")]}, **row, **more}


def numbered(count: int) -> list[dict[str, Any]]:
    """Different rows of one question and one answer."""
    return [chat(said("user", f"n{n}"), said("assistant", f"a{n}")) for n in range(count)]


def preferences(count: int) -> list[dict[str, Any]]:
    """Different rows of one question and two answers."""
    return [preference(input={"messages": [said("user", f"n{n}")]}) for n in range(count)]


def write(path: Path, rows: Iterable[Any]) -> Path:
    """Write rows to a file; bytes stay as they are."""
    lines = (row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows)
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path
