"""An engine that dies or hangs is replaced, and everybody gets one honest answer."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from support.mortal import Factory, Recovered, supervised, until
from veneer_server.engine.base import Answer, Call, Endpoint, EngineLost, EngineUnavailable
from veneer_server.engine.restarts import RestartPolicy
from veneer_server.engine.supervision import EngineGaveUp, Loss, SupervisedEngine

BODY: dict[str, Any] = {"model": "echo", "messages": [{"role": "user", "content": "Ahoy"}]}
CALL = Call(Endpoint.CHAT, BODY, "one")


async def answered(engine: SupervisedEngine) -> bool:
    await engine.wait_until_able()
    return isinstance(await engine.respond(CALL), Answer)


async def test_a_dead_engine_is_replaced_and_the_next_one_answers() -> None:
    factory, recovery = Factory(), Recovered()
    async with supervised(factory, recovery) as engine:
        assert await answered(engine)
        factory.engines[0].stop()
        await until(lambda: recovery.restored == 1)
        await until(lambda: not engine_is_down(engine))
        assert await answered(engine)
    assert recovery.losses == [Loss.DIED]
    assert factory.engines[0].killed == 1, "what is left of it is removed"


def engine_is_down(engine: SupervisedEngine) -> bool:
    return not engine._able.is_set()


async def test_a_hung_engine_ends_its_requests_is_killed_and_replaced() -> None:
    factory, recovery = Factory(), Recovered()
    async with supervised(factory, recovery) as engine:
        factory.engines[0].hang()
        waiting = asyncio.create_task(engine.respond(CALL))
        await factory.engines[0].asked.wait()
        with pytest.raises(EngineLost):
            await waiting
        await until(lambda: recovery.restored == 1)
        await until(lambda: not engine_is_down(engine))
        assert await answered(engine)
    assert recovery.losses == [Loss.HUNG]
    assert factory.engines[0].killed == 1


async def test_health_and_requests_tell_at_once_that_the_engine_is_gone() -> None:
    factory, recovery = Factory(), Recovered()
    factory.gate.clear()
    async with supervised(factory, recovery) as engine:
        factory.engines[0].stop()
        with pytest.raises(EngineUnavailable):
            await engine.check_health()
        await until(lambda: engine_is_down(engine))
        with pytest.raises(EngineUnavailable) as refused:
            await engine.wait_until_able()
        assert refused.value.retry_after_s is not None
        with pytest.raises(EngineUnavailable):
            await engine.respond(CALL)
        with pytest.raises(EngineUnavailable):
            await engine.load_adapter(1, "a", Path())


async def test_nobody_generates_before_the_adapters_are_back_but_they_can_be_loaded() -> None:
    factory, recovery = Factory(), Recovered()
    recovery.gate.clear()
    async with supervised(factory, recovery) as engine:
        factory.engines[0].stop()
        await until(lambda: len(factory.engines) == 2)
        await until(lambda: not engine._life.ended.is_set())
        await engine.load_adapter(1, "a@sha256:1", Path())
        with pytest.raises(EngineUnavailable):
            await engine.respond(CALL)
        recovery.gate.set()
        await until(lambda: not engine_is_down(engine))
        assert await answered(engine)


async def test_a_request_waits_for_the_restart_where_that_is_configured() -> None:
    factory, recovery = Factory(), Recovered()
    factory.gate.clear()
    async with supervised(factory, recovery, restart_wait_s=9.0) as engine:
        factory.engines[0].stop()
        await until(lambda: engine_is_down(engine))
        waiting = asyncio.create_task(answered(engine))
        factory.gate.set()
        assert await waiting


async def test_starts_that_fail_are_tried_again() -> None:
    factory, recovery = Factory(), Recovered()
    factory.failures = 2
    async with supervised(factory, recovery) as engine:
        factory.engines[0].stop()
        await until(lambda: recovery.restored == 1)
        await until(lambda: not engine_is_down(engine))
        assert await answered(engine)


async def test_an_engine_whose_starts_fail_slowly_is_given_up() -> None:
    factory, recovery = Factory(), Recovered()
    factory.failures = 3
    nothing_is_recent = RestartPolicy(first_delay_s=0.0, most=3, within_s=0.0)
    with pytest.raises(EngineGaveUp, match="did not start 3 times in a row"):
        async with supervised(factory, recovery, gives_up=True, policy=nothing_is_recent):
            factory.engines[0].stop()


async def kill_each(
    factory: Factory, recovery: Recovered, times: int, *, gives_up: bool = False
) -> None:
    async with supervised(factory, recovery, gives_up=gives_up):
        for death in range(times):
            await until(lambda: len(factory.engines) > death)  # noqa: B023 - awaited here
            factory.engines[death].stop()
            await until(lambda: len(recovery.losses) > death)  # noqa: B023 - awaited here


async def test_an_engine_that_dies_again_and_again_is_given_up() -> None:
    with pytest.raises(EngineGaveUp, match="died 4 times"):
        await kill_each(Factory(), Recovered(), 4, gives_up=True)


async def test_an_adapter_call_that_hangs_ends_with_the_engine() -> None:
    factory, recovery = Factory(), Recovered()
    async with supervised(factory, recovery) as engine:
        await engine.load_adapter(1, "a@sha256:1", Path())
        factory.engines[0].hang()
        with pytest.raises(EngineLost):
            await engine.unload_adapter(1)
        await until(lambda: recovery.restored == 1)
        await engine.unload_adapter(1)  # the new engine does not hold it: a no-op


async def test_who_gives_up_waiting_leaves_nothing_running() -> None:
    factory, recovery = Factory(), Recovered()
    async with supervised(factory, recovery) as engine:
        factory.engines[0].hang()
        waiting = asyncio.create_task(engine.respond(CALL))
        await factory.engines[0].asked.wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting


async def test_a_stopped_engine_is_not_started_again() -> None:
    factory, recovery = Factory(), Recovered()
    async with supervised(factory, recovery) as engine:
        pass
    engine.stop()
    with pytest.raises(EngineUnavailable):
        await engine.wait_until_able()
    assert len(factory.engines) == 1
