"""A proxy in front of a server. It refuses once, or cuts a stream, as the URL asks.

A client is given ``<url>/<fault>/<story>`` where it would be given the server's URL; ``/v1`` and
the rest follow. A story is one test of one client: its requests are counted together, and
``GET <url>/seen/<story>`` returns when each of them arrived. The errors are the server's own.
"""

import threading
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from enum import StrEnum
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from veneer_server.api.errors import ApiError, to_api_error, to_body, to_event
from veneer_server.api.listener import bind
from veneer_server.engine.base import EngineLost, EngineUnavailable


class Fault(StrEnum):
    """What happens to the requests of a story."""

    LIMITED = "limited"
    """The first is 429, with ``Retry-After``."""
    COLD = "cold"
    """The first is 503, with ``Retry-After``."""
    BROKEN = "broken"
    """Every stream ends with an error after its second event."""


RETRY_AFTER_S = 1
"""What the refusals say; more than any client waits of its own accord the first time."""
EVENTS = 2
"""How many events of a broken stream arrive."""
_DROPPED = {"host", "content-length", "connection", "transfer-encoding", "accept-encoding"}
_LOST = EngineLost("the engine stopped while it was answering")
_REFUSALS = {
    Fault.LIMITED: ApiError(
        429, "rate_limit_error", "rate_limit_exceeded", "Too many requests in this minute."
    ),
    Fault.COLD: to_api_error(EngineUnavailable("the engine is being started")),
}


class Refusing:
    """The proxy's application."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._seen: dict[str, list[float]] = defaultdict(list)
        every = ["GET", "POST", "DELETE", "HEAD"]
        routes = [
            Route("/seen/{story}", self._tell),
            Route("/{fault}/{story}/{rest:path}", self._pass_on, methods=every),
        ]
        self.app = Starlette(routes=routes, lifespan=self._lifespan)

    @asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        async with httpx.AsyncClient(base_url=self._server, timeout=120) as self._client:
            yield

    async def _tell(self, request: Request) -> Response:
        return JSONResponse(self._seen[request.path_params["story"]])

    async def _pass_on(self, request: Request) -> Response:
        fault = Fault(request.path_params["fault"])
        path = f"/{request.path_params['rest']}"
        seen = self._seen[request.path_params["story"]]
        seen.append(time.monotonic())
        if fault in _REFUSALS and len(seen) == 1:
            return _refuse(_REFUSALS[fault], path)
        answer = await self._ask(request, path)
        kept = _kept(answer.headers)
        if fault is Fault.BROKEN and "event-stream" in answer.headers["content-type"]:
            return StreamingResponse(_broken(answer, path), answer.status_code, kept)
        return StreamingResponse(_whole(answer), answer.status_code, kept)

    async def _ask(self, request: Request, path: str) -> httpx.Response:
        url = f"{path}?{request.url.query}" if request.url.query else path
        body = await request.body()
        asked = self._client.build_request(
            request.method, url, headers=_kept(request.headers), content=body
        )
        return await self._client.send(asked, stream=True)


def _refuse(error: ApiError, path: str) -> Response:
    headers = {"retry-after": str(RETRY_AFTER_S)}
    body = to_body(error, anthropic=path.startswith("/v1/messages"), request_id="req-refused")
    return JSONResponse(body, error.status, headers)


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in _DROPPED}


async def _whole(answer: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for block in answer.aiter_raw():
            yield block
    finally:
        await answer.aclose()


async def _broken(answer: httpx.Response, path: str) -> AsyncIterator[bytes]:
    pending, left = b"", EVENTS
    async for block in answer.aiter_raw():
        *events, pending = (pending + block).split(b"\n\n")
        for event in events[:left]:
            yield event + b"\n\n"
        left -= len(events)
        if left <= 0:
            break
    await answer.aclose()
    yield to_event(to_api_error(_LOST), path, EVENTS, "req-broken")


@contextmanager
def refusing(server: str) -> Iterator[str]:
    """Serve the proxy of ``server`` in a thread; yield its URL."""
    config: dict[str, Any] = {"log_config": None, "lifespan": "on", "ws": "none"}
    proxy = uvicorn.Server(uvicorn.Config(Refusing(server).app, **config))
    with bind("127.0.0.1", 0) as listener:
        listener.listen()
        thread = threading.Thread(target=proxy.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            proxy.should_exit = True
            thread.join(30)
            assert not thread.is_alive()
