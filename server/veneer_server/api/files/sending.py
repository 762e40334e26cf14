"""A file as the body of an answer: read in a thread, and closed whatever happens."""

import asyncio
from typing import BinaryIO
from urllib.parse import quote

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from veneer_server.api.streams import ClientGone, run_until_gone
from veneer_server.files.records import StoredFile

_PART_BYTES = 1 << 18


class FileContent(Response):
    """Sends the bytes of a file; the answer to HEAD has only its headers."""

    media_type = "application/octet-stream"

    def __init__(self, file: StoredFile, opened: BinaryIO, deadline: asyncio.Event) -> None:
        """Send what ``opened`` has, and close it; ``deadline`` ends the answer."""
        name = quote(file.filename, safe="")
        super().__init__(
            headers={
                "content-length": str(file.size_bytes),
                "content-disposition": f"attachment; filename*=UTF-8''{name}",
                "x-content-type-options": "nosniff",
            }
        )
        self._opened = opened
        self._deadline = deadline

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send every byte, unless the client leaves first."""
        try:
            start = {"status": 200, "headers": self.raw_headers}
            await send({"type": "http.response.start", **start})
            if scope["method"] != "HEAD":
                await run_until_gone(self._send_all(send), receive, self._deadline)
            await send({"type": "http.response.body", "body": b""})
        except ClientGone:
            return
        finally:
            await asyncio.to_thread(self._opened.close)

    async def _send_all(self, send: Send) -> None:
        while part := await asyncio.to_thread(self._opened.read, _PART_BYTES):
            await send({"type": "http.response.body", "body": part, "more_body": True})
