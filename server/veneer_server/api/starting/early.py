"""Answers on the server's own socket until the server is ready, and leaves it open for it."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import (
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)
from socket import socket

from veneer_server.api.access import AccessLog
from veneer_server.api.listener import Listener
from veneer_server.api.starting.answers import create_starting_app
from veneer_server.engine.stages import Stages
from veneer_server.settings import Settings
from veneer_server.telemetry.tracing import Tracing


class _Early(Listener):
    """Leaves the signals alone: before the server is ready they end the process."""

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        return nullcontext()

    def stop_accepting(self) -> None:
        """Take no further connection; those that wait are for the server that is ready."""
        for server in getattr(self, "servers", ()):  # none before uvicorn has begun
            server.close()
        self.should_exit = self.force_exit = True


@asynccontextmanager
async def answering(listener: socket, stages: Stages, settings: Settings) -> AsyncIterator[None]:
    """Answer on the listening ``listener`` until the block ends, and then leave it as it is."""
    app = create_starting_app(stages)
    early = _Early(
        AccessLog(app, refused=lambda code, tenant: None, tracing=Tracing()),
        draining=asyncio.Event(),
        deadline=asyncio.Event(),
        settings=lambda: settings,
    )
    with _unannounced():
        serving = asyncio.create_task(early.serve(sockets=[listener.dup()]))
        try:
            yield
        finally:
            early.stop_accepting()
            await asyncio.wait([serving])


@contextmanager
def _unannounced() -> Iterator[None]:
    """Keep uvicorn from writing that a server starts and shuts down, before the real one starts."""
    logger = logging.getLogger("uvicorn.error")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
