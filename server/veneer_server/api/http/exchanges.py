"""One request and its answer on a connection: uvicorn's, where it does not do what HTTP asks."""

import asyncio
from typing import Any
from urllib.parse import unquote

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

_LINGER_S = 2.0

WRITER = "veneer.writer"
"""A member of the message that begins an answer: a function that gets what writes its body.

So each part of a stream is written by one call, and not handed on from middleware to middleware.
"""


class Exchange(RequestResponseCycle):
    """Answers HTTP/1.0 without chunks, and ends a connection whose next bytes are uncertain."""

    async def send(self, message: Any) -> None:
        """Write a part of the answer."""
        if not self.response_started and self.waiting_for_100_continue:
            # Nobody asked for the body, and nobody knows whether the client sends it anyway.
            self.keep_alive = False
        if self.scope["http_version"] == "1.0":
            # uvicorn counts the body against a length that it was told; here the end of the
            # connection is the end of the body.
            self.chunked_encoding = False
            self.expected_content_length = len(message.get("body", b""))
        await super().send(message)
        if (take := message.get(WRITER)) is not None:
            take(self)

    def is_free(self) -> bool:
        """Return whether a part of the body can be written now; else ``send`` waits, or knows."""
        return not (self.flow.write_paused or self.disconnected or self.response_complete)

    def write(self, body: bytes) -> None:
        """Write a part of the body, as ``send`` would; only while ``is_free``."""
        chunk = b"%x\r\n%b\r\n" % (len(body), body) if self.chunked_encoding else body
        self.transport.write_soon(chunk)  # type: ignore[attr-defined]


class Lingering:
    """A transport whose ``close`` gives the client two seconds to read what was written.

    A client that is still sending would otherwise get a reset, and never see the answer.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def close(self) -> None:
        """Send the end of the answer now; end the connection later."""
        if self._transport.is_closing():
            return
        if self._transport.can_write_eof():
            self._transport.write_eof()
        asyncio.get_running_loop().call_later(_LINGER_S, self._transport.abort)


def refusal(connection: HttpToolsProtocol, fault: Exception, *, has_head: bool) -> Exchange:
    """Return the exchange in which the application answers ``fault``, the last of a connection.

    ``has_head`` says that the connection has read some of the request that is refused.
    """
    return Exchange(
        scope=_scope(connection, fault, has_head=has_head),
        transport=Lingering(connection.transport),  # type: ignore[arg-type]
        flow=connection.flow,
        logger=connection.logger,
        access_logger=connection.access_logger,
        access_log=connection.access_log,
        default_headers=connection.server_state.default_headers,
        message_event=asyncio.Event(),
        expect_100_continue=False,
        keep_alive=False,
        on_response=lambda: None,
    )


def _scope(connection: HttpToolsProtocol, fault: Exception, *, has_head: bool) -> Any:
    target = connection.url if has_head else b""
    path, _, query = target.partition(b"?")
    return {
        "type": "http",
        "asgi": {"version": connection.asgi_version, "spec_version": "2.3"},
        "http_version": "1.1",
        "server": connection.server,
        "client": connection.client,
        "scheme": connection.scheme,
        "root_path": connection.root_path,
        "method": connection.parser.get_method().decode("ascii") if target else "GET",
        "path": unquote(path.decode("latin-1")),
        "raw_path": path,
        "query_string": query,
        "headers": connection.headers if has_head else [],
        "state": {**connection.app_state, "refusal": fault},
    }
