"""Start everything that a server needs, in order, and end it in reverse.

This file starts the database, the engine, the sandbox, the folder watch, tracing and the background
tasks, because all of them must be ended. ``wiring`` builds the other parts, and ``engine.starting``
names the concrete engine.
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from copy import copy
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from veneer_adapters.catalog.database import Database
from veneer_adapters.sandbox.sandbox import Sandbox
from veneer_adapters.sources.local import FolderWatch
from veneer_adapters.state_lock import state_folder
from veneer_server import __version__
from veneer_server.api import errors, generation, models, operations, urls
from veneer_server.api.access import EXPOSED, AccessLog, Refusals
from veneer_server.api.admin import adapters, aliases, audit, keys, usage, vllm_routes
from veneer_server.api.batches import routes as batches
from veneer_server.api.compare import routes as compare
from veneer_server.api.conversations import creating, stored, threads
from veneer_server.api.deps import Server
from veneer_server.api.files import routes as files
from veneer_server.api.fine_tuning import routes as fine_tuning
from veneer_server.api.listener import Listener, allow_open_files
from veneer_server.api.pages import routes as pages
from veneer_server.api.starting.early import answering
from veneer_server.background import Background
from veneer_server.collecting import exempt_what_lives
from veneer_server.console.site import console
from veneer_server.engine.base import Engine
from veneer_server.engine.sizing.asking import sizes_without_model
from veneer_server.engine.sizing.sizes import Sizes
from veneer_server.engine.stages import Stage, Stages
from veneer_server.engine.starting import choose_sizes_for, start_engine
from veneer_server.engine.supervision import EngineGaveUp, SupervisedEngine
from veneer_server.reloading import reload
from veneer_server.settings import Settings
from veneer_server.telemetry import otel
from veneer_server.telemetry.tracing import Tracing
from veneer_server.tenancy.keyring import Keyring
from veneer_server.turns import shorten_turns
from veneer_server.wiring import (
    Given,
    Parts,
    assemble,
    find_needs,
    open_database,
    open_keyring,
    roots,
)
from veneer_server.workers.dealing import Dealing
from veneer_server.workers.keeping import Portion, Workers

_BACKLOG = 2048
_GOODBYE_S = 5.0
"""Seconds that workers may need to leave after the time for running requests is over."""


@dataclass(frozen=True, slots=True)
class Start:
    """How somebody follows a start."""

    stages: Stages = field(default_factory=Stages)
    say: Callable[[Sequence[str]], None] = lambda _: None
    """Gets the lines that say what was chosen for the device and the model."""


# Most requests generate. The router tries routes in this order, so those are found first.
_ROUTES = (
    *(generation, creating, compare, models, operations),
    *(stored, threads, files, batches, fine_tuning),
    *(adapters, aliases, vllm_routes, keys, usage, audit),
)


def create_app(server: Server) -> FastAPI:
    """Return the application that serves ``server``."""
    app = FastAPI(
        title="Veneer",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,  # a redirect would lose the body of many clients
    )
    app.state.server = server
    errors.install(app)
    shown = (pages,) if server.settings.server.shows_pages() else ()
    for routes in (*_ROUTES, *shown):
        # Including a router would build each of its routes again, as they are.
        app.router.routes.extend(map(copy, routes.router.routes))
    if server.settings.server.shows_console():
        app.router.routes += console(server)
    urls.add_head(app.routes)
    if server.settings.server.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(server.settings.server.cors_origins),
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=EXPOSED,
        )
    return app


def to_asgi(server: Server) -> ASGIApp:
    """Return ``create_app`` inside the access log, so that the log has unexpected errors too."""
    return AccessLog(Refusals(create_app(server)), server.metrics.refused, server.tracing)


@asynccontextmanager
async def running(
    settings: Settings,
    *,
    engine: Engine | None = None,
    tracing: Tracing | None = None,
    sandbox: Sandbox | None = None,
    watch: FolderWatch | None = None,
    new_catalog: bool = False,
    start: Start | None = None,
) -> AsyncIterator[Parts]:
    """Start everything that a server needs, and end it in reverse when the block ends.

    When the block begins, the adapters that are in the folders now are staged. ``engine`` takes
    the place of the configured engine; this function stops it too. ``tracing`` takes the place
    of the tracing that the environment asks for, and ``watch`` that of the watch of the adapter
    folders. A ``sandbox`` that is given stays open. With ``new_catalog`` an empty catalog may take
    the place of one that is lost. ``start`` is told how far this is.

    Raises:
        StateFolderInUse: another server uses ``state.dir``.
        AdapterError: the state folder, the database or the store cannot be used.
        KeyNeeded: other machines reach the server, and there is no key.
        EngineNotStarted: the configured engine cannot start.
        ExportNotPossible: traces cannot be sent in the way that the environment asks for.
    """
    async with AsyncExitStack() as stack:
        stack.enter_context(state_folder(settings.state.dir))
        tracing = tracing or _start_tracing(stack)
        database, keyring = await _open_state(stack, settings, new_catalog=new_catalog)
        start = start or Start()
        sizes, supervised = sizes_without_model(settings), None
        if engine is None:
            sizes, supervised = await _start_engine(settings, database, start)
            engine = supervised
        stack.push_async_callback(asyncio.to_thread, engine.stop)
        background = Background(fatal=(EngineGaveUp,))
        sandbox = sandbox or stack.enter_context(Sandbox())
        start.stages.begin(Stage.ADAPTERS)
        parts = await assemble(
            Given(settings, sizes, engine, tracing, database, keyring, sandbox, background)
        )
        stack.push_async_callback(parts.upkeep.close)
        stack.push_async_callback(parts.guarding.close)
        for threaded in parts.threads:
            stack.callback(threaded.close)
        stack.push_async_callback(parts.staging.close)
        stack.push_async_callback(_end_runs, parts.server)
        watch = watch or FolderWatch(roots(settings))
        stack.push_async_callback(background.close)  # before what the tasks use is closed
        if supervised is not None:
            background.start("engine", lambda: supervised.run(parts.recovery))
        _start_tasks(parts, watch)
        if await background.wait_for(parts.following.initial_scan_done, "following"):
            await parts.warm(sizes.device_slots)
        start.stages.end()
        yield parts


async def _open_state(
    stack: AsyncExitStack, settings: Settings, *, new_catalog: bool
) -> tuple[Database, Keyring]:
    database = await open_database(settings, new_catalog=new_catalog)
    stack.push_async_callback(database.close)
    return database, await open_keyring(settings, database)


async def _start_engine(
    settings: Settings, database: Database, start: Start
) -> tuple[Sizes, SupervisedEngine]:
    start.stages.begin(Stage.MODEL)
    needs = await find_needs(settings, database)
    sizes = await choose_sizes_for(settings, needs, start.say)
    return sizes, await start_engine(settings, sizes, start.stages)


def _start_tasks(parts: Parts, watch: FolderWatch) -> None:
    start, server = parts.background.start, parts.server
    start("following", lambda: parts.following.follow(watch))
    start("resume", parts.staging.resume, once=True)
    start("upkeep", parts.upkeep.run)
    start("hot set", parts.hot_set.keep)
    start("conversations", server.kept.upkeep.run)
    start("files", parts.file_upkeep.run)
    start("batches", parts.runner.run)
    start("training", parts.training.run)
    start("keys", server.keyring.follow)
    start("usage", server.ledger.run)
    start("quotas", server.quotas.run, once=True)


async def _end_runs(server: Server) -> None:
    # After a signal they may go on until the time for running requests is over.
    try:
        await server.kept.runs.close(server.deadline, wait=server.draining.is_set())
    finally:
        await server.quotas.close()
        await server.ledger.close()


def _start_tracing(stack: AsyncExitStack) -> Tracing:
    export = otel.asked_for(os.environ)
    if export is None:
        return Tracing()
    # vLLM reads the same variables, but has another default for the protocol.
    os.environ.update(export.environment())
    provider = otel.provider(export)
    stack.callback(provider.shutdown)
    return Tracing(provider)


def start_workers(parts: Parts) -> Workers:
    """Start the workers that the settings ask for."""
    server = parts.server
    workers = Workers(to_asgi(server), lambda: server.settings, server.metrics.workers_are)
    if (count := server.settings.server.workers) > 1:
        for number in range(1, count + 1):
            parts.background.start(f"worker {number}", workers.keep, once=True)
    return workers


async def serve(
    settings: Settings,
    listener: socket.socket,
    on_ready: Callable[[Server, int], None],
    read: Callable[[], Settings] | None = None,
    *,
    new_catalog: bool = False,
    start: Start | None = None,
) -> None:
    """Serve on the bound ``listener`` until a signal stops the server.

    ``on_ready`` gets the server and its port as soon as requests are answered. ``read`` returns
    the settings again, for SIGHUP. ``new_catalog``, ``start`` and the errors are those of
    ``running``. Until requests are answered, probes are told how far the start is.
    """
    start = start or Start()
    listener.listen(_BACKLOG)  # before ``on_ready``: a client that connects then is not refused
    async with AsyncExitStack() as stack:
        async with answering(listener, start.stages, settings):
            parts = await stack.enter_async_context(
                running(settings, new_catalog=new_catalog, start=start)
            )
        allow_open_files(settings.limits.max_connections)
        workers = start_workers(parts)
        http = to_listener(parts.server, read or (lambda: settings), workers)
        exempt_what_lives()
        shorten_turns()
        with http.capture_signals():  # before ``on_ready`` too: a signal then is not lost
            on_ready(parts.server, listener.getsockname()[1])
            try:
                await _serve_until_over(http, listener, parts.background)
            finally:
                await workers.until_left(settings.server.drain_timeout_s + _GOODBYE_S)


async def _serve_until_over(
    http: Listener, listener: socket.socket, background: Background
) -> None:
    serving = asyncio.create_task(http.serve(sockets=[listener]))
    over = asyncio.create_task(background.until_over())
    await asyncio.wait((serving, over), return_when=asyncio.FIRST_COMPLETED)
    if over.done():
        http.request_stop()
    await serving
    over.cancel()
    await asyncio.gather(over, return_exceptions=True)
    if not over.cancelled():
        over.result()


def to_listener(
    server: Server, read: Callable[[], Settings], workers: Workers | None = None
) -> Listener:
    """Return the listener that serves ``server`` over HTTP, drains it at a signal and ends.

    ``workers`` get the connections, and are told of signals.
    """
    app = to_asgi(server)
    told = workers or Workers(app, lambda: server.settings)

    def reload_all() -> None:
        reload(server, read)
        told.renew()

    shared: dict[str, Any] = {
        "draining": server.draining,
        "deadline": server.deadline,
        "settings": Portion(lambda: server.settings),
        "on_hangup": reload_all,
        "on_stop": told.drain,
    }
    if server.settings.server.workers > 1:
        return Dealing(app, told.hands, **shared)
    return Listener(app, **shared)
