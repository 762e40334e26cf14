"""Conversations: lists of items that turns add to, and their owners read and change."""

from typing import Any

from veneer_server.conversations.errors import (
    ConversationNotFound,
    ItemNotFound,
    StateRefused,
    short_id,
)
from veneer_server.conversations.ids import is_id, new_id
from veneer_server.conversations.items import to_kept
from veneer_server.conversations.records import Conversation, Item, Page
from veneer_server.conversations.sql import conversation_rows, item_rows
from veneer_server.conversations.sql.store import Store

MOST_ADDED = 20
"""Most items that one request adds."""


class Conversations:
    """What an owner can do with a conversation.

    Every method raises ConversationNotFound when the owner has no such conversation, and
    StateUnavailable when the database cannot be read or written.
    """

    def __init__(self, store: Store, *, most_items: int, ttl_s: int) -> None:
        self._store = store
        self._most_items = most_items
        self._ttl_s = ttl_s

    async def create(self, owner: str, metadata: dict[str, str], items: list[Any]) -> Conversation:
        """Make a conversation that begins with ``items``."""
        kept = _checked(items)
        made = Conversation(new_id("conv"), owner, self._store.now, 0, metadata)
        expires = made.created + self._ttl_s
        async with self._store.writing() as connection:
            await conversation_rows.insert(connection, made, expires=expires)
            await conversation_rows.append(connection, made.id, kept, expires=expires)
        return made

    async def find(self, owner: str, conversation_id: str) -> Conversation:
        """Return the conversation."""
        found = None
        if is_id(conversation_id):
            async with self._store.reading() as connection:
                found = await conversation_rows.find(
                    connection, owner, conversation_id, now=self._store.now
                )
        return _known(found, conversation_id)

    async def update(
        self, owner: str, conversation_id: str, metadata: dict[str, str]
    ) -> Conversation:
        """Replace its metadata."""
        found = await self.find(owner, conversation_id)
        async with self._store.writing() as connection:
            changed = await conversation_rows.update(
                connection, owner, found.id, metadata, now=self._store.now
            )
        return _known(changed, conversation_id)

    async def delete(self, owner: str, conversation_id: str) -> None:
        """Remove it with all its items."""
        found = await self.find(owner, conversation_id)
        async with self._store.writing() as connection:
            await conversation_rows.delete(connection, owner, found.id, now=self._store.now)

    async def add(self, owner: str, conversation_id: str, items: list[Any]) -> list[Item]:
        """Add ``items`` at its end, and return them with their ids.

        Raises:
            StateRefused: they are no items, or too many.
        """
        kept = _checked(items)
        found = await self.find(owner, conversation_id)
        if found.items + len(kept) > self._most_items:
            raise StateRefused(
                f"A conversation may have {self._most_items} items; this one has had"
                f" {found.items} already.",
                param="items",
            )
        if not await self._store.append(found.id, kept):
            raise ConversationNotFound(conversation_id)
        return kept

    async def page(
        self, owner: str, conversation_id: str, *, after: str | None, limit: int, newest: bool
    ) -> Page:
        """Return a page of its items.

        Raises:
            StateRefused: the item ``after`` is not among them.
        """
        found = await self.find(owner, conversation_id)
        page = None
        if after is None or is_id(after):
            async with self._store.reading() as connection:
                page = await item_rows.page(
                    connection, found.id, after=after, limit=limit, newest=newest
                )
        if page is None:
            raise StateRefused(
                f"There is no item with id '{short_id(after or '')}' in this list.", param="after"
            )
        return page

    async def item(self, owner: str, conversation_id: str, item_id: str) -> Item:
        """Return one item; raises ItemNotFound."""
        found = await self.find(owner, conversation_id)
        item = None
        if is_id(item_id):
            async with self._store.reading() as connection:
                item = await item_rows.find_item(connection, found.id, item_id)
        if item is None:
            raise ItemNotFound(item_id)
        return item

    async def delete_item(self, owner: str, conversation_id: str, item_id: str) -> Conversation:
        """Remove one item, and return the conversation; raises ItemNotFound."""
        found = await self.find(owner, conversation_id)
        item = await self.item(owner, conversation_id, item_id)
        async with self._store.writing() as connection:
            await item_rows.delete_item(connection, found.id, item["id"])
        return found


def _known(found: Conversation | None, conversation_id: str) -> Conversation:
    if found is None:
        raise ConversationNotFound(conversation_id)
    return found


_TEXTS: dict[str, tuple[str, ...]] = {
    "message": ("role",),
    "function_call": ("call_id", "name", "arguments"),
    "function_call_output": ("call_id",),
    "reasoning": (),
}
"""The kinds of items that a conversation may be given, and the texts that each must have."""

_ROLES = ("user", "assistant", "system", "developer")


def _checked(items: list[Any]) -> list[Item]:
    if len(items) > MOST_ADDED:
        raise StateRefused(
            f"Invalid 'items': array too long. Expected an array with maximum length {MOST_ADDED},"
            f" but got an array with length {len(items)} instead.",
            param="items",
        )
    for index, item in enumerate(items):
        fault = _fault(item)
        if fault is not None:
            raise StateRefused(f"Invalid 'items[{index}]': {fault}.", param=f"items[{index}]")
    return to_kept(items)


def _fault(item: Any) -> str | None:
    if not isinstance(item, dict):
        return "expected an object"
    kind = item.get("type") or "message"
    if not isinstance(kind, str) or kind not in _TEXTS:
        return f"this server keeps no items of type {kind!r}"
    for name in _TEXTS[kind]:
        if not isinstance(item.get(name), str):
            return f"{name!r} must be a string"
    if kind == "message" and item["role"] not in _ROLES:
        return f"'role' must be one of {', '.join(_ROLES)}"
    if kind == "message" and not _is_content(item.get("content")):
        return "'content' must be a string or an array of parts, each with a type and a text"
    return None


def _is_content(content: Any) -> bool:
    if isinstance(content, str):
        return True
    return isinstance(content, list) and all(
        isinstance(part, dict) and isinstance(part.get("type"), str) for part in content
    )
