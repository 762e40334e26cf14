"""One turn: what came before a request is found, and its response is kept.

A turn without state costs no I/O. A kept response is written before the client learns that it is
complete, so the next request finds it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from veneer_server.conversations.asking import STATE_MEMBERS, Asked, Keep, read_state
from veneer_server.conversations.errors import (
    ConversationNotFound,
    ItemNotFound,
    PreviousResponseNotFound,
    StateRefused,
    StateUnavailable,
    short_id,
)
from veneer_server.conversations.ids import is_id, new_id
from veneer_server.conversations.items import reference, to_engine, to_kept
from veneer_server.conversations.records import Item, StoredResponse
from veneer_server.conversations.sql.store import Store

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Turn:
    """One request, with all that came before it."""

    id: str
    """The id of its response."""
    owner: str
    asked: Asked
    context: list[Item]
    """All items before this turn, as they are kept."""
    given: Any
    """The request's ``input``, with the items in the place of references."""

    def body(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return ``body`` for an engine: with all items before it, and without state."""
        plain = {key: value for key, value in body.items() if key not in STATE_MEMBERS}
        if not self.context:
            return plain if self.given is None else {**plain, "input": self.given}
        given = self.given
        if isinstance(given, str):
            given = to_engine(to_kept(given))
        return {**plain, "input": [*to_engine(self.context), *(given or ())]}

    def shown(self) -> dict[str, Any]:
        """Return the members with which a response repeats what was asked."""
        conversation = self.asked.conversation
        return {
            "background": self.asked.background,
            "conversation": conversation and {"id": conversation},
            "previous_response_id": self.asked.previous,
            "store": self.asked.keep is not Keep.NO,
        }

    def record(self, document: Mapping[str, Any]) -> StoredResponse:
        """Return what is kept of this turn when ``document`` is its response."""
        status, given = str(document["status"]), to_kept(self.given)
        return StoredResponse(self.id, self.owner, status, self.context, given, dict(document))


class Turns:
    """Begins and finishes turns."""

    def __init__(self, store: Store, *, by_default: bool) -> None:
        """Keep responses in ``store``, also ``by_default``: when the request does not say."""
        self._store = store
        self._by_default = by_default

    async def begin(self, owner: str, body: Mapping[str, Any]) -> Turn:
        """Return the turn that ``body`` asks for.

        Raises:
            NotKept: it goes on from something that is not there.
            StateRefused: what it says about state is impossible.
            StateUnavailable: the database cannot be read, or what must be kept could not be.
        """
        asked = read_state(body, by_default=self._by_default)
        if asked.keep is Keep.ASKED or asked.conversation is not None:
            self._store.require_writable()
        return await self._found(owner, asked, body)

    async def _found(self, owner: str, asked: Asked, body: Mapping[str, Any]) -> Turn:
        context = await self._context(owner, asked)
        given = body.get("input")
        if asked.references:
            given = await self._resolved(owner, given, asked)
        return Turn(new_id("resp"), owner, asked, context, given)

    async def items(self, owner: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return ``body`` with all items before it, and without state.

        Raises as ``begin``, but nothing has to be kept.
        """
        given = {**body, "input": body.get("input") or []}
        turn = await self._found(owner, read_state(given, by_default=False), given)
        return turn.body(given)

    async def finish(self, turn: Turn, document: dict[str, Any]) -> dict[str, Any]:
        """Keep the response ``document``, and return it.

        When it cannot be kept and the request did not ask for that, the document returned says
        that it is not.

        Raises:
            StateUnavailable: the request needs the response to be kept, and it is not.
        """
        asked = turn.asked
        if asked.keep is Keep.NO and asked.conversation is None:
            return document
        try:
            await self._store.add(
                turn.record(document),
                conversation=asked.conversation,
                keep=asked.keep is not Keep.NO,
            )
        except StateUnavailable as error:
            if asked.keep is Keep.ASKED or asked.conversation is not None:
                raise
            logger.warning("response not stored", why=str(error))
            return {**document, "store": False}
        return document

    async def _context(self, owner: str, asked: Asked) -> list[Item]:
        if asked.previous is not None:
            return await self._after(owner, asked.previous)
        if asked.conversation is None:
            return []
        found = None
        if is_id(asked.conversation):
            found = await self._store.conversation(owner, asked.conversation)
        if found is None:
            raise ConversationNotFound(asked.conversation, param="conversation")
        return found[1]

    async def _after(self, owner: str, previous: str) -> list[Item]:
        found = await self._store.response(owner, previous) if is_id(previous) else None
        if found is None:
            raise PreviousResponseNotFound(previous)
        if not found.finished:
            raise StateRefused(
                f"Previous response with id '{short_id(previous)}' is still {found.status}.",
                param="previous_response_id",
            )
        return found.items

    async def _resolved(self, owner: str, given: Any, asked: Asked) -> list[Any]:
        found = await self._store.items(owner, {id_ for id_ in asked.references if is_id(id_)})
        for wanted in asked.references:
            if wanted not in found:
                raise ItemNotFound(wanted, param="input")
        resolved: list[Any] = []
        for each in given:
            id_ = reference(each)
            resolved += [each] if id_ is None else to_engine([found[id_]])
        return resolved
