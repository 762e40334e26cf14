"""Servers for tests: in the test's own loop, or as the process a user starts."""

import asyncio
import atexit
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from support.beginning import begin_state
from support.forwarded import Forwarded, forwarding
from veneer_adapters.sandbox.sandbox import Sandbox
from veneer_adapters.sources.local import FolderWatch
from veneer_server.api.listener import bind
from veneer_server.app import running, to_listener
from veneer_server.engine.base import Engine
from veneer_server.engine.echo import EchoEngine
from veneer_server.settings import Settings
from veneer_server.telemetry import logs
from veneer_server.telemetry.tracing import Tracing
from veneer_server.wiring import Parts, roots

POLL_S = 0.05
"""Pause between two looks at a condition; the waits themselves are bounded by a timeout."""
START_S = 180
"""Bound on the start of a real engine on a busy machine."""
QUIET_S = 1.001
"""A little more than a folder must stay the same before it is looked at."""
SANDBOX = Sandbox()
"""Of all servers in this process; it starts its own process when it is first needed."""
atexit.register(SANDBOX.close)


@dataclass(frozen=True)
class Served:
    """A running server."""

    url: str
    """Without ``/v1``."""
    adapters: Path
    """Its watched, writable adapter folder."""
    parts: Parts | None = None
    """What it is made of, when it runs in this process."""
    process: subprocess.Popen[str] | None = None
    log: Path | None = None


@asynccontextmanager
async def serve_app(
    settings: Settings,
    engine: Engine,
    tracing: Tracing | None = None,
    sandbox: Sandbox = SANDBOX,
) -> AsyncIterator[Served]:
    """Serve ``engine`` on a free loopback port, by a real uvicorn in this event loop."""
    tracing = tracing or Tracing()
    await begin_state(settings.state)
    watch = FolderWatch(roots(settings), now=_late_at_first())
    async with running(
        settings, engine=engine, tracing=tracing, sandbox=sandbox, watch=watch
    ) as parts:
        server = to_listener(parts.server, lambda: settings)
        forwarded = Forwarded(server.config.app)
        if forwarding.get():
            server.config.app = forwarded
        with bind("127.0.0.1", 0) as listener:
            listener.listen()  # a test that connects at once is not refused
            task = asyncio.create_task(server.serve(sockets=[listener]))
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            try:
                yield Served(url, settings.adapters.dir, parts)
            finally:
                server.request_stop()
                async with asyncio.timeout(10):
                    await task
                await forwarded.close()


def _late_at_first() -> Callable[[], float]:
    """Return a clock by which all that is older than this call is quiet at once, nothing else."""
    until_s = time.time() + QUIET_S
    return lambda: max(time.time(), until_s)


@asynccontextmanager
async def serve_echo(
    folder: Path,
    engine: Engine | None = None,
    tracing: Tracing | None = None,
    sandbox: Sandbox = SANDBOX,
    **sections: Mapping[str, Any],
) -> AsyncIterator[Served]:
    """Serve the echo engine with all its state in ``folder``; ``sections`` are settings."""
    flags = {
        "adapters": {"dir": folder / "adapters", **sections.pop("adapters", {})},
        "state": {"dir": folder / "state", **sections.pop("state", {})},
        **sections,
    }
    settings = Settings.load(environ={}, flags=flags)
    async with serve_app(settings, engine or EchoEngine(), tracing, sandbox) as served:
        yield served


async def until_served(served: Served, *names: str) -> None:
    """Return when every one of ``names`` has a revision that can serve."""
    assert served.parts is not None
    async with asyncio.timeout(60):
        while not {a.name for a in served.parts.catalog.adapters() if a.live} >= {*names}:
            await asyncio.sleep(POLL_S)


@contextmanager
def start_process(
    folder: Path,
    *,
    roots: Sequence[Path] = (),
    kv_cache_gib: int = 1,
    environ: Mapping[str, str] | None = None,
    flags: Sequence[str] = (),
    wrapper: Sequence[str] = (),
    new_group: bool = False,
    ends_with: int = 0,
) -> Iterator[Served]:
    """Run ``veneer serve`` as a user would, on a free port, until SIGTERM.

    Fails unless the process then ``ends_with`` this exit code.
    """
    adapters = folder / "my-adapters"
    log = folder / "server.log"
    variables = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "VENEER_STATE__DIR": str(folder / "state"),
        "VENEER_ADAPTERS__DIR": str(adapters),
        "VENEER_ADAPTERS__ROOTS": "[" + ",".join(f'"{root}"' for root in roots) + "]",
        "VENEER_ENGINE__KV_CACHE_GIB": str(kv_cache_gib),
        **(environ or {}),
    }
    program = str(Path(sys.executable).with_name("veneer"))
    command = [*wrapper, program, "serve", "--port", "0", *flags]
    with log.open("w") as stderr:
        process = subprocess.Popen(
            command,
            env=variables,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            start_new_session=new_group,
        )
        try:
            url = _wait_for_url(process, log)
            yield Served(url, adapters, process=process, log=log)
        finally:
            code = stop(process)
    assert code == ends_with, f"the server ended with {code}:\n{log.read_text()[-3000:]}"


def _wait_for_url(process: subprocess.Popen[str], log: Path) -> str:
    timer = threading.Timer(START_S, process.kill)
    timer.start()
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if found := re.search(r"OPENAI_BASE_URL=(\S+)/v1", line):
                return found[1]
    finally:
        timer.cancel()
    raise AssertionError(f"the server did not start:\n{log.read_text()[-3000:]}")


def stop(process: subprocess.Popen[str], signal_: int = signal.SIGTERM) -> int:
    """Ask ``process`` to end and return its exit code; kill it when it does not."""
    if process.poll() is None:
        process.send_signal(signal_)
    try:
        return process.wait(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    finally:
        if process.stdout is not None:
            process.stdout.close()


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def logging_to_stderr(style: str) -> Iterator[None]:
    """Log as a server does with ``observability.log_format`` at ``style``."""
    root = logging.getLogger()
    before, ours = (root.handlers, root.level), structlog.get_config()
    logs.configure("info", style)
    try:
        yield
    finally:
        structlog.configure(**ours)
        root.handlers, root.level = before
