"""Wiring: the only file that names every concrete component."""

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
from veneer_server.api.deps import State
from veneer_server.api.listener import Listener
from veneer_server.engine.base import Engine
from veneer_server.engine.starting import start_engine
from veneer_server.settings import Settings
from veneer_server.telemetry import otel
from veneer_server.telemetry.tracing import Tracing
from veneer_server.wiring import assemble, roots

_BACKLOG = 2048


def create_app(state: State) -> FastAPI:
    """Return the application that serves ``state``."""
    app = FastAPI(
        title="Veneer", version=__version__, docs_url=None, redoc_url=None, openapi_url=None
    )
    app.state.veneer = state
    errors.install(app)
    for routes in (models, adapters, aliases, vllm_routes, generation, operations):
        app.include_router(routes.router)
    if state.settings.server.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(state.settings.server.cors_origins),
            allow_methods=["*"],
            allow_headers=["*"],
        )
    return app


def to_asgi(state: State) -> ASGIApp:
    """Return ``create_app`` inside the access log, which so sees unexpected errors too."""
    return AccessLog(create_app(state), state.metrics.refused, state.tracing)


@asynccontextmanager
async def running(
    settings: Settings, *, engine: Engine | None = None, tracing: Tracing | None = None
) -> AsyncIterator[State]:
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
        stack.push_async_callback(parts.state.guarding.close)
        stack.callback(parts.canaries.close)
        stack.push_async_callback(parts.state.staging.close)
        watch = FolderWatch(roots(settings))
        for work in (
            parts.following.follow(watch),
            parts.state.staging.resume(),
            parts.upkeep.run(),
            parts.hot_set.keep(),
        ):
            stack.push_async_callback(_cancel, asyncio.create_task(work))
        await parts.following.initial_scan_done.wait()
        await parts.warm(settings.adapters.device_slots)
        yield parts.state


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
    settings: Settings, listener: socket.socket, on_ready: Callable[[State, int], None]
) -> None:
    """Serve on the bound ``listener`` until told to stop; ``on_ready`` gets the port."""
    async with running(settings) as state:
        server = Listener(
            to_asgi(state),
            draining=state.draining,
            deadline=state.deadline,
            drain_timeout_s=settings.server.drain_timeout_s,
        )
        listener.listen(_BACKLOG)  # who connects on reading "ready" is served, not refused
        with server.capture_signals():  # and who stops it then is obeyed
            on_ready(state, listener.getsockname()[1])
            await server.serve(sockets=[listener])
