"""Engines that fail on purpose."""

from veneer_server.engine.base import Answer, Call, EngineLost, Frames
from veneer_server.engine.echo import EchoEngine


class DyingEngine(EchoEngine):
    """Loses its processes after the second event."""

    async def respond(self, call: Call) -> Answer | Frames:
        found = await super().respond(call)
        assert not isinstance(found, Answer)
        return self._die(found)

    async def _die(self, frames: Frames) -> Frames:
        yield await anext(frames)
        yield await anext(frames)
        await frames.aclose()
        raise EngineLost("the engine stopped while it was answering")
