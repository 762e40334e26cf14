"""Answers that are kept when they are complete, in a stream or in the background."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any

import structlog

from veneer_server.api.errors import report, to_api_error
from veneer_server.api.official.answers.conversions import to_document
from veneer_server.api.official.answers.response_events import events, to_last, whole, with_whole
from veneer_server.api.official.bodies import name_as_written
from veneer_server.conversations.runs import Step
from veneer_server.engine.base import Endpoint
from veneer_server.serving.requests import Document, Stream

logger = structlog.get_logger(__name__)


class Recorded:
    """A stream of converted events; its last event leaves only when the response is kept."""

    def __init__(
        self,
        stream: Stream,
        asked: Mapping[str, Any],
        finish: Callable[[dict[str, Any]], Awaitable[dict[str, Any]]],
    ) -> None:
        self._stream = stream
        self._convert = events(stream.served.asked, asked)
        self._finish = finish

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for frame in self._stream:
            frames = self._convert(frame)
            if (response := whole(frames)) is not None:
                kept = await self._finish(response)
                frames = frames if kept is response else with_whole(frames, kept)
            if frames:
                yield frames

    async def aclose(self) -> None:
        """Stop generating, then end the lease; a second call does nothing."""
        await self._stream.aclose()


class Followed:
    """A stream of events that a run leaves behind; closing it does not end the run."""

    def __init__(self, found: AsyncIterator[bytes]) -> None:
        self._found = found

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for event in self._found:
            yield event

    async def aclose(self) -> None:
        """Nothing is held."""


async def steps(
    respond: Callable[[], Awaitable[Document | Stream]],
    asked: Mapping[str, Any],
    queued: dict[str, Any],
) -> AsyncGenerator[Step]:
    """Yield what ``respond`` generates in the background; an error becomes a failed response."""
    numbered = 0
    try:
        found = await respond()
        if isinstance(found, Document):
            yield Step(
                document=to_document(Endpoint.RESPONSES, found.body, found.served.asked, asked)
            )
            return
        convert = events(found.served.asked, asked)
        async with aclosing(found):
            async for frame in found:
                frames = convert(frame)
                numbered += frames.count(b"\n\n")
                yield Step(frames, whole(frames))
    except Exception as error:
        name_as_written(Endpoint.RESPONSES, asked, error)
        api_error = to_api_error(error)
        told: dict[str, Any] = {}
        report(error, api_error, told)
        logger.warning("background response failed", response=queued["id"], **told)
        code = "server_error" if api_error.status >= 500 else "invalid_prompt"
        code = "rate_limit_exceeded" if api_error.status == 429 else code
        problem = {"code": code, "message": api_error.message}
        document = {**queued, "status": "failed", "error": problem}
        yield Step(to_last(document, numbered), document)
