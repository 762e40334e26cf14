"""The texts of one message become one text, with a newline between them.

Chat templates and vLLM put them together without anything between, or with a newline, each in its
own way; two parts are two things, and a model must not read them as one word.
"""

from collections.abc import Mapping
from typing import Any

_TEXTS = frozenset({"text", "input_text", "output_text"})
_BESIDE = frozenset({"redacted_thinking", "thinking", "tool_result", "tool_use"})
"""Blocks that do not stand between texts: the engine moves them to a place of their own."""
_ACCOUNTING = "x-anthropic-billing-header"
"""Begins a block that Claude Code writes for Anthropic, and that no model should read."""
_LISTS = (("messages", "content"), ("input", "content"), ("input", "output"))


def joined(body: dict[str, Any]) -> dict[str, Any]:
    """Return ``body`` in which each message has at most one text, unless media stand between."""
    changed = dict(body)
    for name, member in _LISTS:
        items = changed.get(name)
        if isinstance(items, list):
            changed[name] = [_item(item, member) for item in items]
    system = changed.get("system")
    if isinstance(system, list):
        changed["system"] = _one_text([part for part in system if not _is_accounting(part)])
    return changed


def _item(item: Any, member: str) -> Any:
    parts = item.get(member) if isinstance(item, Mapping) else None
    if not isinstance(parts, list) or len(parts) < 2:
        return item
    return {**item, member: _one_text(parts)}


def _one_text(parts: list[Any]) -> list[Any]:
    places = [index for index, part in enumerate(parts) if _is_text(part)]
    others = [part for part in parts if not _is_text(part)]
    if len(places) < 2 or any(_kind(part) not in _BESIDE for part in others):
        return parts
    first, *more = places
    text = "\n".join(parts[index]["text"] for index in places if parts[index]["text"])
    whole = [*parts[:first], {**parts[first], "text": text}, *parts[first + 1 :]]
    spare = frozenset(more)
    return [part for index, part in enumerate(whole) if index not in spare]


def _is_text(part: Any) -> bool:
    return _kind(part) in _TEXTS and isinstance(part.get("text"), str)


def _is_accounting(part: Any) -> bool:
    return _is_text(part) and part["text"].startswith(_ACCOUNTING)


def _kind(part: Any) -> str | None:
    kind = part.get("type") if isinstance(part, Mapping) else None
    return kind if isinstance(kind, str) else None
