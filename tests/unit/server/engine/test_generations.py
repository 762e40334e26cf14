"""The generations of one call: each ends with it, and the first error is the one told."""

import asyncio
from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import Any

import pytest

from support.asked import need

pytestmark = pytest.mark.engine

generations = need("veneer_server.engine.vllm.generations")


class Client:
    """An engine that answers or fails as its prompt says, and notes what it was told to stop."""

    def __init__(self) -> None:
        self.reading = asyncio.Event()
        self.stopped: list[str] = []
        self.aborted: list[str] = []
        self.stopping = asyncio.Event()
        self.may_stop = asyncio.Event()
        self.may_stop.set()

    async def generate(self, prompt: Any, params: Any, request_id: str) -> AsyncGenerator[Any]:
        try:
            if isinstance(prompt, Exception):
                raise prompt
            yield SimpleNamespace(outputs=[SimpleNamespace(finish_reason=prompt)])
            self.reading.set()
            await asyncio.Future()
        finally:
            self.stopped.append(request_id)
            if prompt == "bad end":
                raise RuntimeError("this one does not end well")

    async def abort(self, request_id: str) -> None:
        self.stopping.set()
        await self.may_stop.wait()
        self.aborted.append(request_id)


class Admission:
    """Admits everything."""

    async def admit(self, params: Any) -> None:
        pass


def begin(client: Client, *prompts: Any) -> tuple[Any, list[Any]]:
    call = generations.Generations()
    generations.current.set(call)
    recording = generations.RecordingClient(client, Admission())
    begun = [recording.generate(prompt, None, str(n)) for n, prompt in enumerate(prompts)]
    return call, begun


async def test_a_generation_that_is_being_read_elsewhere_ends_too() -> None:
    client = Client()
    call, [first, second] = begin(client, None, None)
    await anext(first)
    await anext(second)
    reader = asyncio.create_task(anext(second))
    async with asyncio.timeout(5):
        await client.reading.wait()
        await call.close()
    assert reader.cancelled()
    assert sorted(client.stopped) == sorted(client.aborted) == ["0", "1"]


async def test_one_that_does_not_end_well_leaves_none_running_and_raises_nothing() -> None:
    client = Client()
    call, begun = begin(client, "bad end", None)
    for generation in begun:
        await anext(generation)
    async with asyncio.timeout(5):
        await call.close()
        await call.close()
    assert sorted(client.stopped) == sorted(client.aborted) == ["0", "1"]


async def test_an_error_while_a_reader_is_cancelled_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = Client()
    call, [generation] = begin(client, "bad end")
    await anext(generation)
    reader = asyncio.create_task(anext(generation))
    async with asyncio.timeout(5):
        await client.reading.wait()
        await call.close()
    assert reader.cancelled()
    assert "this one does not end well" in caplog.text
    assert client.aborted == ["0"]


async def test_they_end_also_when_their_caller_is_cancelled_meanwhile() -> None:
    client = Client()
    call, [generation] = begin(client, None)
    await anext(generation)
    client.may_stop.clear()
    closing = asyncio.create_task(call.close())
    async with asyncio.timeout(5):
        await client.stopping.wait()
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        client.may_stop.set()
        await generation.aclose()
    assert client.aborted == ["0"]


async def test_the_first_error_is_kept_and_ends_the_handler_as_a_cancellation_does() -> None:
    first, second = ValueError("the first"), ValueError("the second")
    call, begun = begin(Client(), first, second)
    for generation in begun:
        with pytest.raises(asyncio.CancelledError):
            await anext(generation)
    assert call.failure is first
    assert call.failed is begun[0]
    assert not call.answering


async def test_an_output_that_says_error_is_an_error_and_any_other_an_answer() -> None:
    call, [failing] = begin(Client(), "error")
    with pytest.raises(asyncio.CancelledError):
        await anext(failing)
    assert call.failure is not None
    assert not call.answering
    call, [answering] = begin(Client(), "stop")
    await anext(answering)
    assert call.answering


async def test_a_generation_nobody_has_read_yet_ends_without_a_word() -> None:
    client = Client()
    call, _begun = begin(client, None)
    async with asyncio.timeout(5):
        await call.close()
    assert client.aborted == ["0"]
