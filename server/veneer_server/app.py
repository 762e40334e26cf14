"""Wiring: the only file that names every concrete component."""

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp

from veneer_adapters.catalog.answers import Answers
from veneer_adapters.catalog.catalog import Catalog
from veneer_adapters.catalog.database import Database
from veneer_adapters.catalog.revision import Revision
from veneer_adapters.catalog.usage import Usage
from veneer_adapters.checks import verify
from veneer_adapters.following import Following
from veneer_adapters.host import Observers
from veneer_adapters.hot_set import HotSet
from veneer_adapters.intake import Intake, source_of
from veneer_adapters.lifecycle import State as Stage
from veneer_adapters.publishing import Publishing
from veneer_adapters.pulling import Puller
from veneer_adapters.residency import Residency
from veneer_adapters.sources.base import Root
from veneer_adapters.sources.fetching import Fetching
from veneer_adapters.sources.local import FolderWatch
from veneer_adapters.sources.remote import remote_sources
from veneer_adapters.staging import Offer, Staging
from veneer_adapters.state_lock import state_folder
from veneer_adapters.store import Store
from veneer_adapters.upkeep import Upkeep
from veneer_adapters.vouching import Vouching
from veneer_server import __version__, otel
from veneer_server.api import adapters, aliases, errors, generation, models, operations, vllm_routes
from veneer_server.api.access import AccessLog
from veneer_server.api.deps import State
from veneer_server.api.listener import Listener
from veneer_server.engine.base import Engine
from veneer_server.engine.vllm import embedded
from veneer_server.engine.vllm.options import EngineOptions, environment
from veneer_server.metrics import Metrics
from veneer_server.serving.requests import RequestService
from veneer_server.serving.resolving import Resolver
from veneer_server.settings import EMBEDDED, Settings
from veneer_server.tracing import Tracing

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
        parts = await _assemble(settings, engine, tracing, database)
        stack.push_async_callback(parts.upkeep.close)
        stack.push_async_callback(parts.state.staging.close)
        watch = FolderWatch(roots(settings))
        for work in (parts.following.follow(watch), parts.upkeep.run(), parts.hot_set.keep()):
            stack.push_async_callback(_cancel, asyncio.create_task(work))
        await parts.following.initial_scan_done.wait()
        await parts.warm(settings.adapters.device_slots)
        yield parts.state


@dataclass(frozen=True, slots=True)
class _Parts:
    state: State
    following: Following
    hot_set: HotSet
    usage: Usage
    upkeep: Upkeep

    async def warm(self, room: int) -> None:
        ready = {a.name: a.live for a in self.state.catalog.adapters() if a.live}
        names = await self.usage.most_used(room)
        hot = [ready[name] for name in names if name in ready]
        await self.hot_set.load([r for r in hot if r.state is Stage.READY], room=room)


def _start_tracing(stack: AsyncExitStack) -> Tracing:
    export = otel.asked_for(os.environ)
    if export is None:
        return Tracing()
    # vLLM reads the same variables, with another default.
    os.environ.update(export.environment())
    provider = otel.provider(export)
    stack.callback(provider.shutdown)
    return Tracing(provider)


async def _assemble(
    settings: Settings, engine: Engine, tracing: Tracing, database: Database
) -> _Parts:
    metrics = Metrics(CollectorRegistry())
    observers = Observers(metrics, tracing)

    def needed() -> set[str]:
        return catalog.digests() | residency.digests()

    store = _open_store(settings, needed)
    catalog = await Catalog.open(database, store.path)
    intake = Intake(
        store,
        lambda folder: verify(folder, engine.facts),
        roots=roots(settings),
        fetching=_fetching(settings),
    )
    residency = Residency(
        engine,
        device_slots=settings.adapters.device_slots,
        host_slots=settings.adapters.host_slots,
        load_timeout_s=settings.adapters.load_timeout_s,
        clock=time.monotonic,
        observer=observers,
        voucher=Vouching(
            *(catalog, store, engine, intake.restore),
            shared=database.shared,
            observer=observers,
        ),
    )
    hot_set = HotSet(residency)
    catalog.watch(hot_set.on_change)
    publishing = Publishing(catalog, residency.warm)
    staging = Staging(
        intake,
        catalog,
        publishing,
        reserved={engine.model.id},
        observer=observers,
    )
    usage = Usage(database)
    resolver = Resolver(engine.model.id, catalog, _puller(settings, staging))
    _observe(metrics, settings, engine, catalog, residency)
    state = State(
        settings=settings,
        engine=engine,
        catalog=catalog,
        answers=Answers(database),
        staging=staging,
        publishing=publishing,
        residency=residency,
        requests=RequestService(engine, resolver, residency, metrics, tracing, usage=usage),
        metrics=metrics,
        tracing=tracing,
        started_s=int(time.time()),
    )
    shared_roots = roots(settings) if database.shared else None
    following = Following(staging, catalog, shared_roots=shared_roots)
    return _Parts(state, following, hot_set, usage, Upkeep(catalog, staging, usage))


def _open_store(settings: Settings, needed: Callable[[], Collection[str]]) -> Store:
    gib = settings.adapters.quota_gib
    return Store(
        settings.adapters.store or settings.state.dir / "store",
        max_bytes=settings.sources.max_bytes,
        quota_bytes=int(gib * 2**30) if gib else None,
        needed=needed,
    )


def _fetching(settings: Settings) -> Fetching:
    sources = settings.sources
    return remote_sources(
        hub_orgs=sources.hub_orgs,
        https_hosts=sources.https_hosts,
        private_hosts=sources.private_hosts,
        buckets=sources.buckets,
        timeout_s=sources.timeout_s,
        max_bytes=sources.max_bytes,
        ca_file=sources.ca_file,
    )


def _puller(settings: Settings, staging: Staging) -> Puller:
    async def pull(name: str, location: str) -> Revision:
        return await staging.stage(Offer(name, source_of(location), is_new=True))

    return Puller(settings.sources.pull, pull, deadline_s=settings.sources.timeout_s)


def _observe(
    metrics: Metrics, settings: Settings, engine: Engine, catalog: Catalog, residency: Residency
) -> None:
    metrics.built(base_model=engine.model.id, lora_op=engine.lora_op())
    metrics.observe_slots(lambda: _count_slots(settings, residency))
    metrics.observe_residents(lambda: [(r.adapter, r.level) for r in residency.snapshot()])
    metrics.observe_routing(settings.adapters.device_slots, lambda: _routed(catalog, residency))
    metrics.observe_adapters(
        engine.model.id, lambda: {a.name: str(a.state) for a in catalog.adapters()}
    )


def _routed(catalog: Catalog, residency: Residency) -> tuple[list[str], list[str]]:
    """Return what is in device slots and what is waited for, under the names clients use."""
    live = {a.live.engine_name: a.name for a in catalog.adapters() if a.live}
    loaded = [r.revision for r in residency.snapshot() if r.level == "device"]
    # The engine name of an older revision is a name clients may use, only a longer one.
    return (
        sorted(live.get(name, name) for name in loaded),
        sorted(live.get(name, name) for name in residency.waiting()),
    )


def _count_slots(settings: Settings, residency: Residency) -> dict[tuple[str, ...], int]:
    residents = residency.snapshot()
    device = sum(r.level == "device" for r in residents)
    return {
        ("device", "used"): device,
        ("device", "free"): settings.adapters.device_slots - device,
        ("host", "used"): len(residents),
        ("host", "free"): settings.adapters.host_slots - 1 - len(residents),
    }


def roots(settings: Settings) -> tuple[Root, ...]:
    """Return the folders adapters may come from, the writable one first."""
    own = Root(settings.adapters.dir, read_only=False)
    return own, *(Root(path, read_only=True) for path in settings.adapters.roots)


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
        on_ready(state, listener.getsockname()[1])
        await server.serve(sockets=[listener])
