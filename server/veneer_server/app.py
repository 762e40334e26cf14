"""Start everything a server needs, in order, and end it in reverse."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from veneer_adapters.catalog.database import Database
from veneer_adapters.sandbox.sandbox import Sandbox
from veneer_adapters.sources.local import FolderWatch
from veneer_adapters.state_lock import state_folder
from veneer_server import __version__
from veneer_server.api import errors, generation, models, operations
from veneer_server.api.access import AccessLog
from veneer_server.api.admin import adapters, aliases, vllm_routes
from veneer_server.api.deps import Server
from veneer_server.api.listener import Listener
from veneer_server.engine.base import Engine
from veneer_server.engine.starting import start_engine
from veneer_server.settings import Settings
from veneer_server.telemetry import otel
from veneer_server.telemetry.tracing import Tracing
from veneer_server.wiring import Parts, assemble, roots

_BACKLOG = 2048


# Most requests generate: the router tries those first, and so passes nothing on its way.
_ROUTES = (generation, models, operations, adapters, aliases, vllm_routes)


def create_app(server: Server) -> FastAPI:
    """Return the application that serves ``server``."""
    app = FastAPI(
        title="Veneer", version=__version__, docs_url=None, redoc_url=None, openapi_url=None
    )
    app.state.server = server
    errors.install(app)
    for routes in _ROUTES:
        app.include_router(routes.router)
    if server.settings.server.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(server.settings.server.cors_origins),
            allow_methods=["*"],
            allow_headers=["*"],
        )
    return app


def to_asgi(server: Server) -> ASGIApp:
    """Return ``create_app`` inside the access log, which so sees unexpected errors too."""
    return AccessLog(create_app(server), server.metrics.refused, server.tracing)


@asynccontextmanager
async def running(
    settings: Settings, *, engine: Engine | None = None, tracing: Tracing | None = None
) -> AsyncIterator[Parts]:
    """Start everything a server needs and end it in reverse.

    The adapters that are in the folders now are staged when the block begins; ``engine``
    replaces the configured one, ``tracing`` the one the environment asks for.

    Raises:
        StateFolderInUse: another server has ``state.dir``.
    """
    async with AsyncExitStack() as stack:
        stack.enter_context(state_folder(settings.state.dir))
        tracing = tracing or _start_tracing(stack)
        database = await Database.open(settings.state.database())
        stack.push_async_callback(database.close)
        engine = engine or await start_engine(settings)
        stack.callback(engine.stop)
        sandbox = Sandbox()
        stack.callback(sandbox.close)
        parts = await assemble(settings, engine, tracing, database, sandbox)
        stack.push_async_callback(parts.upkeep.close)
        stack.push_async_callback(parts.guarding.close)
        stack.callback(parts.canaries.close)
        stack.push_async_callback(parts.staging.close)
        watch = FolderWatch(roots(settings))
        for work in (
            parts.following.follow(watch),
            parts.staging.resume(),
            parts.upkeep.run(),
            parts.hot_set.keep(),
        ):
            stack.push_async_callback(_cancel, asyncio.create_task(work))
        await parts.following.initial_scan_done.wait()
        await parts.warm(settings.adapters.device_slots)
        yield parts


def _start_tracing(stack: AsyncExitStack) -> Tracing:
    export = otel.asked_for(os.environ)
    if export is None:
        return Tracing()
    # vLLM reads the same variables, with another default.
    os.environ.update(export.environment())
    provider = otel.provider(export)
    stack.callback(provider.shutdown)
    return Tracing(provider)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def serve(
    settings: Settings, listener: socket.socket, on_ready: Callable[[Server, int], None]
) -> None:
    """Serve on the bound ``listener`` until told to stop; ``on_ready`` gets the port."""
    async with running(settings) as parts:
        http = to_listener(parts.server)
        listener.listen(_BACKLOG)  # who connects on reading "ready" is served, not refused
        with http.capture_signals():  # and who stops it then is obeyed
            on_ready(parts.server, listener.getsockname()[1])
            await http.serve(sockets=[listener])


def to_listener(server: Server) -> Listener:
    """Return what serves ``server`` over HTTP until told to stop, and lets requests finish."""
    return Listener(
        to_asgi(server),
        draining=server.draining,
        deadline=server.deadline,
        drain_timeout_s=server.settings.server.drain_timeout_s,
    )
