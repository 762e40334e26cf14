"""The generations that one call has begun in vLLM's engine. They end with the call.

vLLM's handlers leave an abandoned generation to the garbage collector, and they log and rewrite
an error that a generation raises. But a lease must not end before the engine was told to stop,
and a client must learn the engine's own reason. So a call keeps each generation that it has begun,
and the first error of them all.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from contextvars import ContextVar
from typing import Any

from vllm.engine.protocol import EngineClient
from vllm.exceptions import GenerationError

from veneer_server.engine.vllm.constraints.admission import Admission
from veneer_server.engine.vllm.dialect.shortcut import shortcut

logger = logging.getLogger(__name__)
_BAD_END = "a generation did not end as it should"


class _Stopped(asyncio.CancelledError):
    """Ends vLLM's handler after an error that is kept: it logs and rewrites every other one."""


class Generation:
    """One generation of the engine, for vLLM's handlers to iterate and for its call to close."""

    def __init__(
        self, call: "Generations", client: EngineClient, request_id: str, outputs: Any, params: Any
    ) -> None:
        self.params = params
        """vLLM's sampling parameters, or None."""
        self._call = call
        self._client = client
        self._request_id = request_id
        self._outputs: AsyncGenerator[Any] = outputs
        self._reader: asyncio.Task[Any] | None = None
        self._closing: asyncio.Future[None] | None = None
        self._complete = False
        self._shortcut = shortcut.get()

    def __aiter__(self) -> "Generation":
        return self

    async def __anext__(self) -> Any:
        if self._shortcut is not None:
            self._shortcut.lead(self._client, self._request_id, self._is_read)
        self._reader = asyncio.current_task()
        try:
            output = await anext(self._outputs)
        except StopAsyncIteration:
            self._complete = True
            raise
        except Exception as error:
            raise self._call.stopped_by(self, error) from error
        finally:
            self._reader = None
        if any(part.finish_reason == "error" for part in output.outputs):
            raise self._call.stopped_by(self, GenerationError())
        self._call.answering = True
        return output

    def _is_read(self) -> bool:
        return self._reader is not None

    async def aclose(self) -> None:
        """Return when the engine was told to stop; this goes on when its caller is cancelled."""
        if self._complete:
            return
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        if (reader := self._reader) is not None:
            # vLLM reads several generations side by side, each in a task that it only cancels.
            before = self._call.failure
            reader.cancel()
            await asyncio.wait([reader])
            if (error := self._call.failure) is not before:  # nobody else is told any more
                logger.warning(_BAD_END, exc_info=error)
        try:
            await self._outputs.aclose()
        finally:
            # A generation that ends while it begins does not know yet what it must abort.
            await self._client.abort(self._request_id)


class Generations:
    """The generations of one call."""

    def __init__(self, cache_salt: str | None = None) -> None:
        """``cache_salt`` is the call's."""
        self.cache_salt = cache_salt
        self.answering = False
        """Whether a generation has an output, so that the engine has accepted the request."""
        self.failure: Exception | None = None
        """The first error that a generation raised."""
        self.failed: Generation | None = None
        """The generation that raised it."""
        self._begun: list[Generation] = []

    def add(self, client: EngineClient, outputs: Any, params: Any, request_id: str) -> Generation:
        """Keep a generation that begins."""
        generation = Generation(self, client, request_id, outputs, params)
        self._begun.append(generation)
        return generation

    def stopped_by(self, generation: Generation, error: Exception) -> BaseException:
        """Keep ``error`` if it is the first; return what ends vLLM's handler."""
        if self.failure is None:
            self.failure, self.failed = error, generation
        return _Stopped()

    async def close(self) -> None:
        """End every generation. An error of one hinders no other, and is only logged."""
        # Tasks of vLLM's that began meanwhile keep this object in their context as long as they
        # live, and a generation would keep its engine alive.
        begun, self._begun, self.failed = self._begun, [], None
        ends = [generation.aclose() for generation in begun]
        for error in await asyncio.gather(*ends, return_exceptions=True):
            if isinstance(error, Exception):
                logger.warning(_BAD_END, exc_info=error)


current: ContextVar[Generations | None] = ContextVar("generations", default=None)
"""The generations of the call that runs now; they get each generation that vLLM begins."""


class RecordingClient:
    """The engine client; it also gives each generation to the call that begins it.

    A generation begins when what its answer must fit is admitted.
    """

    def __init__(self, client: EngineClient, admission: Admission) -> None:
        self._client = client
        self._admission = admission

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def generate(self, prompt: Any, sampling_params: Any, request_id: str, **more: Any) -> Any:
        """Begin a generation, as vLLM's own client does."""
        generations = current.get()
        if generations is not None and generations.cache_salt is not None:
            # Not every one of vLLM's request objects has a member for it.
            prompt = {**prompt, "cache_salt": generations.cache_salt}
        outputs = self._admitted(prompt, sampling_params, request_id, more)
        if generations is None:
            return outputs
        return generations.add(self._client, outputs, sampling_params, request_id)

    async def _admitted(
        self, prompt: Any, params: Any, request_id: str, more: dict[str, Any]
    ) -> AsyncGenerator[Any]:
        await self._admission.admit(params)
        async with aclosing(self._client.generate(prompt, params, request_id, **more)) as outputs:
            async for output in outputs:
                yield output
