"""A shorter way for plain text: from vLLM's output to the client without waking who reads.

Each token otherwise wakes a task, which climbs through a dozen generators, and vLLM makes two
objects for it. A text takes the short way only while its reader waits for it and nothing else is on
the long way, so the order of the events is the same.
"""

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any

from vllm.v1.engine.async_llm import AsyncLLM

from veneer_server.engine.base import Outlet

Take = Callable[[str, Sequence[int]], bool]
"""Hands a text and its tokens on, or returns False and does nothing with them."""


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
        """Let ``take`` have the texts that come while their reader waits."""
        self._take = take

    def lead(self, client: AsyncLLM, request_id: str, is_read: Callable[[], bool]) -> None:
        """Put the short way before what makes the request's outputs, once, when it is open."""
        if self._take is None or self._client is not None or not self._outlet.is_open:
            return
        self._client = client
        processor = client.output_processor
        for name in processor.external_req_ids.get(request_id, ()):
            state = processor.request_states[name]
            if state.stream_interval == 1:  # else vLLM counts what it has told
                state.make_request_output = Bypass(state, self._take, is_read)


class Bypass:
    """What makes the outputs of a request; it makes none of a text that ``take`` hands on."""

    def __init__(self, state: Any, take: Take, is_read: Callable[[], bool]) -> None:
        self._state = state
        self._make = state.make_request_output
        self._queue = state.queue
        self._detokenizer = state.detokenizer
        self._take = take
        self._is_read = is_read

    def __call__(
        self,
        new_token_ids: list[int],
        pooling_output: Any,
        finish_reason: Any,
        *more: Any,
        **named: Any,
    ) -> Any:
        """Return the output for the queue; None if its text was handed on.

        vLLM gives the first three by position for a token, and by name when it aborts a request.
        """
        if finish_reason is not None:
            vars(self._state).pop("make_request_output", None)  # else they would hold each other
        elif self._queue.output is None and self._is_read():
            return self._hand_on(new_token_ids, pooling_output, *more, **named)
        return self._make(new_token_ids, pooling_output, finish_reason, *more, **named)

    def _hand_on(self, tokens: list[int], pooled: Any, *more: Any, **named: Any) -> Any:
        text = self._detokenizer.get_next_output_text(False, True)
        try:
            if text and self._take(text, tokens):
                return None
        except Exception as error:
            self._queue.put(error)
            return None
        output = self._make(tokens, pooled, None, *more, **named)
        if output is not None:
            output.outputs[0].text = text  # which the detokenizer gives only once
        return output


shortcut: ContextVar[Shortcut | None] = ContextVar("shortcut", default=None)
"""The short way of the call that runs now."""
