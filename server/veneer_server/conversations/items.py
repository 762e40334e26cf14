"""Items in two forms: as they are kept, each with an id, and as an engine reads them. Pure.

Source: ``ItemResource`` and ``InputItem`` of OpenAI's OpenAPI document.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from veneer_server.conversations.ids import is_id, new_item_id
from veneer_server.conversations.records import Item


def to_kept(given: Any) -> list[Item]:
    """Return the items of a request's ``input``, a text or an array, as they are kept.

    An item without a usable id gets a new one. What is no item is left out: an engine refuses it.
    """
    if isinstance(given, str):
        return [_to_item({"role": "user", "content": given})]
    if not isinstance(given, list):
        return []
    return [_to_item(item) for item in given if isinstance(item, Mapping)]


def _to_item(given: Mapping[str, Any]) -> Item:
    kind = given.get("type") or "message"
    item = {key: value for key, value in given.items() if value is not None}
    item |= {"type": kind, "id": given["id"] if is_id(given.get("id")) else new_item_id(kind)}
    if kind == "message":
        item["content"] = _to_parts(item.get("role"), item.get("content"))
    if kind == "reasoning":
        item.setdefault("summary", [])
    else:
        item.setdefault("status", "completed")
    return item


def _to_parts(role: Any, content: Any) -> list[Any]:
    if isinstance(content, str):
        kind = "output_text" if role == "assistant" else "input_text"
        content = [{"type": kind, "text": content}]
    if not isinstance(content, list):
        return []
    return [_to_part(part) for part in content]


def _to_part(part: Any) -> Any:
    if not isinstance(part, Mapping):
        return part
    if part.get("type") == "output_text":
        return {"annotations": [], "logprobs": [], **part}
    return {"detail": "auto", **part} if part.get("type") == "input_image" else part


def to_engine(items: Sequence[Item]) -> list[Item]:
    """Return kept ``items`` as an engine reads them. A message without content says nothing."""
    return [_without_marks(item) for item in items if item.get("content") != []]


def _without_marks(item: Item) -> Item:
    if item["type"] == "message" and item.get("role") != "assistant":
        return {key: item[key] for key in ("type", "role", "content") if key in item}
    return item


def reference(given: Any) -> str | None:
    """Return the id that ``given`` refers to, None when it is an item of its own."""
    if not isinstance(given, Mapping) or given.keys() - {"type", "id"}:
        return None
    if given.get("type") not in (None, "item_reference"):
        return None
    return str(given["id"]) if "id" in given else None


def references(given: Any) -> list[str]:
    """Return every id that the items of a request's ``input`` refer to."""
    found = map(reference, given) if isinstance(given, list) else ()
    return [id_ for id_ in found if id_ is not None]
