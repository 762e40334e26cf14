"""Run an asynchronous generator of vLLM's step by step, and know when it asks for its next input.

vLLM's handlers pull: they read outputs and yield events. Somebody between who wants to answer some
outputs himself must know that the handler has said all it had to say of the output before.
"""

import asyncio
import types
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator
from contextlib import suppress
from typing import Any

_ASKED = object()
"""What the generator's input yields to whoever runs it, instead of a future to wait for."""
_END = object()


class Paced:
    """A generator that reads only what it is given."""

    def __init__(self, tell: Callable[[AsyncIterator[Any]], AsyncGenerator[Any]]) -> None:
        """Run what ``tell`` returns; its argument is the input that the generator reads."""
        self._told = tell(self._input())
        self._step: Coroutine[Any, Any, Any] | None = None

    async def told(self, item: Any) -> AsyncGenerator[Any]:
        """Yield what the generator yields when it reads ``item``, until it asks for the next."""
        if self._step is None:
            async for event in self._run(None):
                yield event
        async for event in self._run(item):
            yield event

    async def ended(self) -> AsyncGenerator[Any]:
        """Yield what the generator yields when its input has ended."""
        async for event in self.told(_END):
            yield event

    async def aclose(self) -> None:
        """End the generator, wherever it is."""
        step, self._step = self._step, None
        if step is not None:
            # It waits for input, so it counts as running, and only an exception ends it.
            with suppress(asyncio.CancelledError, StopIteration, StopAsyncIteration):
                step.throw(asyncio.CancelledError())
        await self._told.aclose()

    async def _run(self, answer: Any) -> AsyncGenerator[Any]:
        while True:
            if self._step is None:
                self._step, answer = self._told.__anext__(), None
            try:
                event = await _until_asked(self._step, answer)
            except StopAsyncIteration:
                self._step = None
                return
            if event is _ASKED:
                return
            self._step = None
            yield event

    async def _input(self) -> AsyncGenerator[Any]:
        while (item := await _ask()) is not _END:
            yield item


@types.coroutine
def _ask() -> Generator[object, Any, Any]:
    return (yield _ASKED)


@types.coroutine
def _until_asked(step: Any, answer: Any) -> Generator[Any, Any, Any]:
    """Run ``step`` until it returns, which is returned, or asks for input."""
    resume, value = step.send, answer
    while True:
        try:
            waited_for = resume(value)
        except StopIteration as returned:
            return returned.value
        if waited_for is _ASKED:
            return _ASKED
        try:
            resume, value = step.send, (yield waited_for)
        except BaseException as error:
            resume, value = step.throw, error
