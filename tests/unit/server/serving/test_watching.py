"""What is noted of a stream as it passes, and how it ended."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import pytest
from opentelemetry.trace import INVALID_SPAN

from unit.server.serving.test_tokens import BLOCK, DONE, QUOTED, ROLE, START, STOP, USAGE, WORD
from veneer_server.engine.base import Endpoint, Outlet, RequestRejected
from veneer_server.serving.canaries.trials import NO_TRIAL
from veneer_server.serving.watching import Watch
from veneer_server.telemetry.observation import Observation
from veneer_server.telemetry.tracing import GenerationSpan


def observation() -> Observation:
    return Observation(0.0, lambda: 0.0, first=float, next_=float)


def watch(endpoint: Endpoint, seen: Observation) -> Watch:
    return Watch(endpoint, seen, GenerationSpan(INVALID_SPAN), NO_TRIAL)


async def stream(frames: Sequence[bytes]) -> AsyncGenerator[bytes]:
    for frame in frames:
        yield frame


async def test_a_stream_is_counted_and_only_the_hidden_usage_is_missing() -> None:
    seen = observation()
    frames = [ROLE, WORD, QUOTED, USAGE, DONE]
    passed = [f async for f in watch(Endpoint.CHAT, seen).frames(stream(frames), hide_usage=True)]
    assert passed == [ROLE, WORD, QUOTED, DONE]
    assert (seen.input_tokens, seen.output_tokens, seen.outcome) == (7, 5, "completed")


async def test_usage_that_comes_in_parts_is_put_together() -> None:
    seen = observation()
    frames = [START, BLOCK, STOP]
    watched = watch(Endpoint.MESSAGES, seen).frames(stream(frames), hide_usage=True)
    passed = [f async for f in watched]
    assert passed == frames
    assert (seen.input_tokens, seen.output_tokens) == (7, 5)


def test_text_that_goes_past_the_reader_is_counted_when_it_is_taken() -> None:
    seen, outlet, turns = observation(), Outlet(), [True, False]
    watched = watch(Endpoint.CHAT, seen)
    watched.divert(outlet, lambda frame: turns.pop())
    assert [outlet.push(WORD), outlet.push(WORD)] == [False, True]
    assert seen.output_tokens == 1
    watched.divert(outlet, None)
    assert not outlet.push(WORD)


async def test_a_stream_the_engine_refuses_is_the_clients_fault() -> None:
    async def refused() -> AsyncGenerator[bytes]:
        yield ROLE
        raise RequestRejected("too long")

    seen = observation()
    with pytest.raises(RequestRejected):
        [f async for f in watch(Endpoint.CHAT, seen).frames(refused(), hide_usage=False)]
    assert seen.outcome == "rejected"


async def test_a_stream_left_early_was_cancelled_and_counts_what_was_sent() -> None:
    seen = observation()
    frames = stream([ROLE, WORD, WORD, USAGE])
    async with aclosing(watch(Endpoint.CHAT, seen).frames(frames, hide_usage=False)) as passed:
        for _ in range(2):
            await anext(passed)
    assert (seen.outcome, seen.output_tokens) == ("cancelled", 1)
