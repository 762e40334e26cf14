"""Responses that are kept: found, listed, deleted and cancelled."""

from collections.abc import AsyncIterator
from typing import Any

from veneer_server.conversations.errors import ResponseNotFound, StateRefused, short_id
from veneer_server.conversations.ids import is_id
from veneer_server.conversations.records import Item, Page, Status, StoredResponse
from veneer_server.conversations.runs import Runs
from veneer_server.conversations.sql.store import Store


class Responses:
    """What its owner can do with a response that is kept.

    Every method raises ResponseNotFound when the owner has no such response.
    """

    def __init__(self, store: Store, runs: Runs) -> None:
        self._store = store
        self._runs = runs

    async def find(self, owner: str, response_id: str) -> StoredResponse:
        """Return the response."""
        found = await self._store.response(owner, response_id) if is_id(response_id) else None
        if found is None:
            raise ResponseNotFound(response_id)
        return found

    async def events(self, owner: str, response_id: str, after: int) -> AsyncIterator[bytes]:
        """Return the events of the response with a number above ``after``, as they come.

        Raises:
            StateRefused: its events are not kept by this server, or not any more.
        """
        found = await self.find(owner, response_id)
        log = self._runs.log(response_id)
        if log is None:
            why = (
                "its events are kept only on the server that generates it, until five minutes after"
                " its end"
                if found.document["background"]
                else "it was not created with background=true and stream=true"
            )
            raise StateRefused(f"This response cannot be streamed: {why}.", param="stream")
        return log.read(after)

    async def input_items(
        self, owner: str, response_id: str, *, after: str | None, limit: int, newest: bool
    ) -> Page:
        """Return a page of the items that the response answers, those of earlier turns too."""
        found = await self.find(owner, response_id)
        items = [*found.context, *found.input]
        return cut([*reversed(items)] if newest else items, after, limit)

    async def delete(self, owner: str, response_id: str) -> None:
        """Remove the response; one that is being generated is cancelled first."""
        found = await self.find(owner, response_id)
        if not await self._store.delete(owner, found.id):
            raise ResponseNotFound(response_id)
        await self._runs.stop(found.id, {"status": Status.CANCELLED.value})

    async def cancel(self, owner: str, response_id: str) -> dict[str, Any]:
        """Cancel the response unless it has ended, and return it.

        Raises:
            StateRefused: it does not run in the background.
        """
        found = await self.find(owner, response_id)
        if not found.document["background"]:
            raise StateRefused("Cannot cancel a synchronous response.")
        cancelled = {**found.document, "status": Status.CANCELLED.value}
        if found.finished or not await self._store.settle(found, cancelled):
            return (await self.find(owner, response_id)).document
        await self._runs.stop(found.id, {"status": Status.CANCELLED.value})
        return cancelled


def cut(items: list[Item], after: str | None, limit: int) -> Page:
    """Return ``limit`` of ``items`` behind the one whose id is ``after``.

    Raises:
        StateRefused: none has that id.
    """
    begin = 0
    if after is not None:
        places = [index for index, item in enumerate(items) if item["id"] == after]
        if not places:
            raise StateRefused(
                f"There is no item with id '{short_id(after)}' in this list.", param="after"
            )
        begin = places[-1] + 1
    return Page(items[begin : begin + limit], len(items) > begin + limit)
