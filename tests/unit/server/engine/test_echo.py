"""What a test may make the echo engine do."""

from dataclasses import replace
from pathlib import Path

import pytest

from veneer_server.engine.base import Answer, Call, Endpoint, EngineError, EngineLost
from veneer_server.engine.echo import PLAUSIBLE, EchoEngine

NOTHING = replace(PLAUSIBLE, largest_change=0.0)


async def test_effects_are_those_the_test_gave_by_the_beginning_of_a_name() -> None:
    engine = EchoEngine(effects={"idle@": NOTHING})
    for engine_id, name in enumerate(("idle@sha256:1", "idle@sha256:2", "idler@sha256:3"), 1):
        await engine.load_adapter(engine_id, name, Path("/nowhere"))
    assert await engine.measure_effect(1, "idle@sha256:1") == NOTHING
    assert await engine.measure_effect(2, "idle@sha256:2") == NOTHING
    assert await engine.measure_effect(3, "idler@sha256:3") == PLAUSIBLE


async def test_answers_are_those_the_test_gave_and_may_change() -> None:
    answers: dict[str, str | type[EngineError]] = {"mine@": "{ }"}
    engine = EchoEngine(answers=answers)
    await engine.load_adapter(1, "mine@sha256:1", Path("/nowhere"))
    message = {"role": "user", "content": "hello"}
    asked = {"response_format": {"type": "json_object"}, "messages": [message]}
    call = Call(Endpoint.CHAT, {"model": "mine@sha256:1", **asked}, "r")
    answer = await engine.respond(call)
    assert isinstance(answer, Answer)
    assert answer.body["choices"][0]["message"]["content"] == "{ }"
    answers["mine@"] = EngineLost
    with pytest.raises(EngineLost):
        await engine.respond(call)
