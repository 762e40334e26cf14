"""An engine that is started again when it dies or hangs; requests see honest errors meanwhile.

    serving --death or hang--> down --backoff, start--> restoring --adapters are back--> serving
                                 |
                                 +--too many deaths--> EngineGaveUp

While it is restoring, adapters can be loaded and nobody can generate. Everything that waits for
an engine's answer is ended when that engine is lost: vLLM leaves some of its calls open for ever.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol, TypeVar

import structlog

from veneer_adapters.artifact.manifest import BaseFacts
from veneer_adapters.catalog.proof import Effect
from veneer_server.engine.base import (
    Answer,
    Call,
    EngineError,
    EngineLost,
    EngineNotStarted,
    EngineUnavailable,
    Frames,
    ModelFacts,
    Rows,
)
from veneer_server.engine.lives import Life, MortalEngine
from veneer_server.engine.restarts import Pulse, RestartPolicy

logger = structlog.get_logger(__name__)

T = TypeVar("T")

_LOOK_S = 0.2
"""Pause between two looks at the engine."""


class Loss(StrEnum):
    """Why an engine is started again."""

    DIED = "died"
    HUNG = "hung"


class EngineGaveUp(EngineUnavailable):
    """The engine died too often in a short time; starting it again would not help."""


class Recovery(Protocol):
    """What else has to happen around a restart."""

    def lost(self, reason: Loss) -> None:
        """The engine is gone, and every adapter with it; called before it is started again."""

    async def restore(self) -> None:
        """Bring back into the new engine what the old one held."""


class SupervisedEngine:
    """See ``engine.base.Engine`` for what each method promises; ``run`` keeps it alive."""

    def __init__(
        self,
        engine: MortalEngine,
        start: Callable[[], Awaitable[MortalEngine]],
        *,
        stall_timeout_s: float = 60.0,
        restart_wait_s: float = 0.0,
        policy: RestartPolicy | None = None,
        clock: Callable[[], float] = time.monotonic,
        look_s: float = _LOOK_S,
    ) -> None:
        """Serve with ``engine``, and with what ``start`` returns after that one is lost.

        ``restart_wait_s`` is how long a request waits for the next engine before it is refused.
        """
        self._life = Life(engine)
        self._start = start
        self._stall_timeout_s = stall_timeout_s
        self._restart_wait_s = restart_wait_s
        self._policy = policy or RestartPolicy()
        self._clock = clock
        self._look_s = look_s
        self._able = asyncio.Event()
        self._able.set()
        self._able_again_s = 0.0
        """When the next engine is expected to serve, on the clock."""
        self._start_took_s = 30.0
        self._deaths_s: list[float] = []
        self._stopped = False
        self._model, self._facts, self._op = engine.model, engine.facts, engine.lora_op()
        self._kernels = engine.lora_kernels()

    @property
    def model(self) -> ModelFacts:
        """The base model; every engine has the same."""
        return self._model

    @property
    def facts(self) -> BaseFacts:
        """What an adapter must match."""
        return self._facts

    @property
    def rows(self) -> Rows:
        """What reads rows of training files, of the engine there is now."""
        return self._life.engine.rows

    def lora_op(self) -> str:
        """Which implementation applies adapters."""
        return self._op

    def lora_kernels(self) -> str | None:
        """Which kernels the first engine chose for that, and why."""
        return self._kernels

    async def wait_until_able(self) -> None:
        """Return when requests can be answered; wait for a restart as long as is configured."""
        if self._stopped:
            raise EngineUnavailable("The engine was stopped.")
        with suppress(TimeoutError):
            async with asyncio.timeout(self._restart_wait_s):
                await self._able.wait()
        if not self._able.is_set():
            raise self._unavailable()

    async def respond(self, call: Call) -> Answer | Frames:
        """Answer ``call`` with the engine that serves now."""
        if not self._able.is_set():
            raise self._unavailable()
        return await self._life.during(self._life.engine.respond(call))

    async def load_adapter(self, engine_id: int, engine_name: str, path: Path) -> None:
        """Load into the engine there is now."""
        await self._ask(lambda e: e.load_adapter(engine_id, engine_name, path))

    async def activate_adapter(self, engine_id: int) -> None:
        """Activate in the engine there is now."""
        await self._ask(lambda e: e.activate_adapter(engine_id))

    async def deactivate_adapter(self, engine_id: int) -> None:
        """Deactivate in the engine there is now."""
        await self._ask(lambda e: e.deactivate_adapter(engine_id))

    async def unload_adapter(self, engine_id: int) -> None:
        """Unload from the engine there is now; one that is gone holds nothing any more."""
        if not self._life.ended.is_set():
            await self._ask(lambda e: e.unload_adapter(engine_id))

    async def measure_effect(self, engine_id: int, engine_name: str) -> Effect:
        """Measure in the engine there is now."""
        return await self._ask(lambda e: e.measure_effect(engine_id, engine_name))

    async def check_health(self) -> None:
        """Return while requests can be answered."""
        if not self._able.is_set():
            raise self._unavailable()
        await self._life.engine.check_health()

    def stop(self) -> None:
        """End the engine for good."""
        self._stopped = True
        self._able.clear()
        self._life.ended.set()
        self._life.engine.stop()

    async def run(self, recovery: Recovery) -> None:
        """Keep an engine alive until cancelled.

        Raises:
            EngineGaveUp: it died too often.
        """
        while True:
            reason = await self._until_lost()
            logger.error("engine lost", reason=reason)
            await self._lose(recovery, reason)
            await self._start_again()
            await self._restore(recovery)

    async def _ask(self, work: Callable[[MortalEngine], Coroutine[Any, Any, T]]) -> T:
        life = self._life
        if life.ended.is_set():
            raise self._unavailable()
        try:
            async with asyncio.timeout(self._stall_timeout_s):
                return await life.during(work(life.engine))
        except TimeoutError as error:
            # The watch sees the same silence and ends this engine.
            raise EngineLost("The engine did not answer in time.") from error

    async def _until_lost(self) -> Loss:
        engine = self._life.engine
        pulse = Pulse(self._stall_timeout_s, self._clock())
        ping: asyncio.Task[None] | None = None
        try:
            while True:
                try:
                    await engine.check_health()
                except EngineUnavailable:
                    return Loss.DIED
                if ping is not None and ping.done():
                    if ping.exception() is None:
                        pulse.answered(self._clock())
                    ping = None
                if ping is None and pulse.needs_ping(self._clock()):
                    ping = asyncio.create_task(engine.ping())
                outputs, unfinished = engine.progress()
                pulse.saw(outputs=outputs, unfinished=unfinished, now_s=self._clock())
                if pulse.is_hung(self._clock()):
                    return Loss.HUNG
                await asyncio.sleep(self._look_s)
        finally:
            if ping is not None:
                ping.cancel()
                await asyncio.gather(ping, return_exceptions=True)

    async def _lose(self, recovery: Recovery, reason: Loss) -> None:
        self._able.clear()
        self._deaths_s.append(self._clock())
        self._able_again_s = self._clock() + self._policy.first_delay_s + self._start_took_s
        self._life.ended.set()
        recovery.lost(reason)
        # A hung engine ends its streams only when its processes are gone.
        await asyncio.to_thread(self._life.engine.kill)

    async def _start_again(self) -> None:
        failed = 0
        while True:
            now_s = self._clock()
            delay_s = self._policy.delay_s(self._deaths_s, now_s, failed_starts=failed)
            if delay_s is None:
                raise EngineGaveUp(self._policy.why_given_up(self._deaths_s, now_s))
            began_s = self._clock() + delay_s
            self._able_again_s = began_s + self._start_took_s
            logger.info("engine is started again", after_s=delay_s)
            await asyncio.sleep(delay_s)
            try:
                self._life = Life(await self._start())
            except EngineNotStarted as error:
                logger.error("engine did not start", why=str(error))
                self._deaths_s.append(self._clock())
                failed += 1
            else:
                self._start_took_s = self._clock() - began_s
                return

    async def _restore(self, recovery: Recovery) -> None:
        try:
            await self._life.during(recovery.restore())
        except EngineError as error:
            logger.warning("adapters were not brought back", why=str(error))
        self._able.set()
        logger.info("engine serves again", deaths=len(self._deaths_s))

    def _unavailable(self) -> EngineUnavailable:
        left_s = max(self._able_again_s - self._clock(), 1.0)
        return EngineUnavailable(
            "The engine is being started again; please try again.", retry_after_s=left_s
        )
