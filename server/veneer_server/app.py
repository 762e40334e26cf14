"""Wiring: the only file that names every concrete component."""

import asyncio
import os
import re
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from huggingface_hub import try_to_load_from_cache
from starlette.types import ASGIApp

from veneer_adapters.catalog.database import Database
from veneer_adapters.sandbox import Sandbox
from veneer_adapters.sources.local import FolderWatch
from veneer_adapters.state_lock import state_folder
from veneer_server import __version__, otel
from veneer_server.api import adapters, aliases, errors, generation, models, operations, vllm_routes
from veneer_server.api.access import AccessLog
from veneer_server.api.deps import State
from veneer_server.api.listener import Listener
from veneer_server.assembly import assemble, roots
from veneer_server.engine.base import Engine
from veneer_server.engine.vllm import embedded
from veneer_server.engine.vllm.options import EngineOptions, environment
from veneer_server.settings import EMBEDDED, Settings
from veneer_server.tracing import Tracing

_BACKLOG = 2048
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


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


def embedded_model() -> tuple[Path, Path]:
    """Return the embedded model as a checkpoint, converted on first use, and as GGUF.

    Raises:
        EngineNotStarted: its package is not installed.
    """
    return embedded.ensure_checkpoint(), embedded.packaged_gguf()


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


async def start_engine(settings: Settings) -> Engine:
    """Return the configured engine, able to serve."""
    if settings.engine.kind == "echo":
        from veneer_server.engine.echo import EchoEngine

        return EchoEngine(name=settings.model.name or "echo")
    # vLLM reads its environment while it is imported and hands it to the processes it spawns.
    os.environ.update(environment(os.environ, os.sched_getaffinity(0), os.getpid()))
    from veneer_server.engine.vllm.engine import VllmEngine

    return await VllmEngine.start(_engine_options(settings))


def model_folder(settings: Settings) -> Path:
    """Return where the base model lies; the embedded one is converted first if need be."""
    if settings.model.path == EMBEDDED:
        return embedded.ensure_checkpoint()
    return Path(settings.model.path)


def model_on_disk(settings: Settings) -> tuple[Path | None, str]:
    """Return where the base model lies on this machine, None when it does not yet, and its name.

    Nothing is converted and nothing fetched.
    """
    path = settings.model.path
    if path == EMBEDDED:
        folder = embedded.cache_folder()
        return (folder if (folder / "config.json").is_file() else None), embedded.ROOT
    if Path(path).is_dir():
        return Path(path), path
    cached = try_to_load_from_cache(path, "config.json") if _HUB_ID.fullmatch(path) else None
    return (Path(cached).parent if isinstance(cached, str) else None), path


def _engine_options(settings: Settings) -> EngineOptions:
    model, gib = settings.model, settings.engine.kv_cache_gib
    is_embedded = model.path == EMBEDDED
    path = str(model_folder(settings)) if is_embedded else model.path
    return EngineOptions(
        model=path,
        name=model.name or (embedded.NAME if is_embedded else Path(path).name.lower()),
        root=embedded.ROOT if is_embedded else model.path,
        dtype=model.dtype,
        max_len=model.max_len,
        kv_cache_bytes=int(gib * 2**30) if gib else None,
        device_slots=settings.adapters.device_slots,
        host_slots=settings.adapters.host_slots,
        max_rank=settings.adapters.max_rank,
        max_seqs=settings.limits.max_seqs,
        chat_template=embedded.CHAT_TEMPLATE if is_embedded else None,
        tool_call_parser=embedded.TOOL_CALL_PARSER if is_embedded else None,
        args=_traced(os.environ) | settings.engine.args,
    )


def _traced(environ: Mapping[str, str]) -> dict[str, str]:
    export = otel.asked_for(environ)
    return {} if export is None else {"otlp_traces_endpoint": export.endpoint}


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
