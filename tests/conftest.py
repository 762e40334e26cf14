"""Fixtures that many tests share: a running server on each engine."""

import gc
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from tempfile import mkstemp
from typing import Any

import pytest
import pytest_asyncio
import structlog
from sqlalchemy import URL

from support import asked, dealing
from support.places import DEMO
from support.postgres import database as postgres_database
from support.postgres import postgresql
from support.serving import Served, serve_echo, start_process
from veneer_adapters import faults
from veneer_server.engine.base import Engine
from veneer_server.engine.vllm import embedded
from veneer_server.engine.vllm.options import EngineOptions, environment


def pytest_configure(config: pytest.Config) -> None:
    asked.note(config.option.markexpr)
    dealing.take_a_share_of_the_cores(config)
    _trust_one_authority(config)
    # Where rich is installed structlog draws tracebacks with all locals: up to a second each.
    *usual, _ = structlog.get_config()["processors"]
    plain = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*usual, plain])


def _trust_one_authority(config: pytest.Config) -> None:
    """Let HTTP clients read one certificate instead of all public ones, 25 ms for each client."""
    if hasattr(config, "workerinput"):  # a process of pytest-xdist inherits it
        return
    import trustme

    descriptor, name = mkstemp(suffix=".pem")
    with open(descriptor, "wb") as file:
        file.write(trustme.CA().cert_pem.bytes())
    patch = pytest.MonkeyPatch()
    patch.setenv("SSL_CERT_FILE", name)
    config.add_cleanup(patch.undo)
    config.add_cleanup(Path(name).unlink)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Deal out whole engines, or the tests of faults one by one; else as --dist says."""
    return dealing.scheduler(config, log)


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Each starts a server, and together they take three quarters of the quick tests' time.
    for item in items:
        if item.nodeid.startswith(("tests/service/", "tests/tenancy/")):
            item.add_marker("slow")


def pytest_collection_finish() -> None:
    # What was imported is there to stay: looking through it cost a sixth of the tests' time.
    gc.collect()
    gc.freeze()


@pytest_asyncio.fixture
async def echo(tmp_path: Path) -> AsyncIterator[Served]:
    """A server on the echo engine, in this test's own event loop."""
    async with serve_echo(tmp_path) as served:
        yield served


@pytest.fixture
def armed() -> Iterator[Callable[[str], None]]:
    """Arms a fault, ``point:n:action``, in this process; nothing stays armed after the test."""
    yield faults.arm
    faults.disarm()


@pytest.fixture(scope="session")
def engine_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One real ``veneer serve`` with the demo adapters, shared by the whole run."""
    folder = tmp_path_factory.mktemp("engine")
    with start_process(folder, roots=[DEMO], kv_cache_gib=1) as served:
        yield served


@pytest.fixture(scope="session")
def engine_url(engine_server: Served) -> str:
    """Where ``engine_server`` listens, without ``/v1``."""
    return engine_server.url


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def vllm_engine() -> AsyncIterator[Engine]:
    """The real engine in this process, in fp32 so that answers can be compared exactly."""
    os.environ.update(environment(os.environ, os.sched_getaffinity(0), os.getpid(), 600.0))
    from veneer_server.engine.vllm.engine import VllmEngine

    options = EngineOptions(
        model=str(embedded.ensure_checkpoint()),
        name="base",
        root=embedded.ROOT,
        dtype="float32",
        max_len=2048,
        kv_cache_bytes=2**30,
        device_slots=8,
        host_slots=16,
        chat_template=embedded.CHAT_TEMPLATE,
        tool_call_parser=embedded.TOOL_CALL_PARSER,
        args={"enable_prefix_caching": False},
    )
    engine = await VllmEngine.start(options)
    try:
        yield engine
    finally:
        engine.stop()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[URL]:
    """A PostgreSQL for the whole run."""
    with postgresql() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: URL) -> Iterator[str]:
    """An empty database in it, for SQLAlchemy with asyncpg; gone after the test."""
    with postgres_database(postgres_server) as url:
        yield url.render_as_string(hide_password=False)
