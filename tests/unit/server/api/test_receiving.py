"""Files of a form that nobody will use: all of them go, also when the request is given up."""

import asyncio
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, cast

from veneer_server.api.files.receiving import forget


class _SlowFiles:
    def __init__(self) -> None:
        self.deleted: list[str] = []
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()

    async def delete(self, _owner: str, file_id: str) -> None:
        self.begun.set()
        await self.go_on.wait()
        self.deleted.append(file_id)


async def test_a_request_that_is_given_up_forgets_every_file_that_it_kept() -> None:
    files = _SlowFiles()
    kept: Any = [SimpleNamespace(id="a"), SimpleNamespace(id="b")]
    forgetting = asyncio.create_task(forget(cast(Any, SimpleNamespace(files=files)), "me", kept))
    await asyncio.wait_for(files.begun.wait(), 10)
    forgetting.cancel()
    files.go_on.set()
    with suppress(asyncio.CancelledError):
        await asyncio.wait_for(forgetting, 10)
    assert files.deleted == ["a", "b"]
