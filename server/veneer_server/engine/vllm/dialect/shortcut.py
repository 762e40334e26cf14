"""A shorter way for plain text: from vLLM's output to the client without waking who reads.

Each token otherwise wakes a task, which climbs through a dozen generators. An output takes the
short way only while its reader waits for it and nothing else is on the long way, so the order of
the events is the same.
"""

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from vllm.outputs import RequestOutput
from vllm.v1.engine.async_llm import AsyncLLM

from veneer_server.engine.base import Outlet

Take = Callable[[RequestOutput], bool]
"""Hands an output on, or returns False and does nothing with it."""


class Shortcut:
    """The short way of one call, from when its template is known."""

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet
        self._take: Take | None = None
        self._client: AsyncLLM | None = None

    def push(self, event: bytes) -> bool:
        """Give ``event`` to the client now; return False, and give nothing, if that cannot be."""
        return self._outlet.push(event)

    def open(self, take: Take) -> None:
        """Let ``take`` have the outputs that come while their reader waits."""
        self._take = take

    def lead(self, client: AsyncLLM, request_id: str, is_read: Callable[[], bool]) -> None:
        """Put the short way before the queue of the request, once, when it is open."""
        if self._take is None or self._client is not None or not self._outlet.is_open:
            return
        self._client = client
        processor = client.output_processor
        for name in processor.external_req_ids.get(request_id, ()):
            state = processor.request_states[name]
            state.queue = Bypass(state.queue, self._take, is_read)


class Bypass:
    """The queue of a request, for who fills it; what ``take`` does not hand on goes into it."""

    def __init__(self, queue: Any, take: Take, is_read: Callable[[], bool]) -> None:
        self._queue = queue
        self._take = take
        self._is_read = is_read

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)

    def put(self, output: Any) -> None:
        """Hand ``output`` on at once if its reader waits for it, or keep it for the reader."""
        if self._queue.output is None and self._is_read() and isinstance(output, RequestOutput):
            try:
                if self._take(output):
                    return
            except Exception as error:
                output = error
        self._queue.put(output)


shortcut: ContextVar[Shortcut | None] = ContextVar("shortcut", default=None)
"""The short way of the call that runs now."""
