"""The workers of a server: they are started, watched, told of settings, and drained.

A worker that ends is started again. What it was answering ends as if each client had left.
"""

import asyncio
import os
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import ceil
from typing import Any

import structlog
from starlette.types import ASGIApp

from veneer_server.settings import Settings
from veneer_server.workers.answering import Answering
from veneer_server.workers.channel import Channel, connect
from veneer_server.workers.messages import Kind, Message

logger = structlog.get_logger(__name__)

_PAUSE_S = 0.5
_START_S = 120.0
"""A worker that starts imports packages for some seconds, on a busy machine for many."""
_PINGS = 6
"""How often a worker is asked in the time after which it counts as hanging."""
_SILENT_S = 30.0
"""A worker that has said nothing for so long hangs, and its clients wait in vain."""

_TOLD: Any = {
    "server": {"keep_alive_s", "drain_timeout_s", "stream_interval_ms"},
    "limits": True,
    "observability": {"log_level", "log_format"},
}
"""The settings that a worker needs; no secret is among them."""


class WorkerEnded(Exception):
    """A worker's process ended before it was of use."""


class Portion:
    """Settings as one process has them: ``limits.max_connections`` is divided by the processes."""

    def __init__(self, settings: Callable[[], Settings]) -> None:
        self._settings = settings
        self._of: Settings | None = None
        self._portion: Settings

    def __call__(self) -> Settings:
        """Return them as they are now."""
        now = self._settings()
        if self._of is not now:
            most = ceil(now.limits.max_connections / now.server.workers)
            limits = now.limits.model_copy(update={"max_connections": most})
            self._of, self._portion = now, now.model_copy(update={"limits": limits})
        return self._portion


def to_told(settings: Settings) -> bytes:
    """Return what a worker is told of ``settings``, as JSON."""
    return settings.model_dump_json(include=_TOLD).encode()


class Workers:
    """All workers of one server; each is kept by a task of its own."""

    def __init__(
        self,
        app: ASGIApp,
        settings: Callable[[], Settings],
        on_count: Callable[[int], None] = lambda count: None,
        *,
        silent_s: float = _SILENT_S,
    ) -> None:
        """Let ``app`` answer what the workers read; ``on_count`` gets how many take connections.

        A worker that has not answered for ``silent_s`` is ended.
        """
        self._app = app
        self._settings = Portion(settings)
        self._on_count = on_count
        self._silent_s = silent_s
        self._lives: list[_Life] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._draining = False
        self._processes = 0
        self._left = asyncio.Event()
        self._left.set()

    async def keep(self) -> None:
        """Keep one worker until the server drains.

        Raises:
            WorkerEnded: it ended before it took connections.
        """
        while not self._draining:
            ended = await self._live()
            if self._draining:
                return
            logger.error("worker ended", **ended)
            await asyncio.sleep(_PAUSE_S)

    async def _live(self) -> dict[str, Any]:
        ours, theirs = socket.socketpair()
        hand, taking = socket.socketpair()
        hand.setblocking(False)
        with hand:
            with theirs, taking:
                process = await _start(theirs, taking)
            self._enter(1)
            try:
                life = await connect(
                    ours,
                    lambda channel: _Life(
                        channel, hand, Answering(self._app, channel, self._tasks), self._count
                    ),
                )
                life.channel.send(Kind.SETTINGS, 0, to_told(self._settings()))
                self._lives.append(life)
                try:
                    await life.watch(self._silent_s)
                finally:
                    self._lives.remove(life)
                    self._count()
            finally:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
                self._enter(-1)
        if not (life.ready or self._draining):
            raise WorkerEnded(f"A worker ended with {process.returncode} before it was ready.")
        return {"code": process.returncode, "hung": life.hung}

    def hands(self) -> list[socket.socket]:
        """Return the sockets by which workers that are ready get connections."""
        return [life.hand for life in self._lives if life.ready and not self._draining]

    def _enter(self, change: int) -> None:
        self._processes += change
        (self._left.clear if self._processes else self._left.set)()

    def _count(self) -> None:
        self._on_count(sum(life.ready for life in self._lives))

    def renew(self) -> None:
        """Tell the workers the settings again."""
        self._tell(Kind.SETTINGS, to_told(self._settings()))

    def drain(self) -> None:
        """Let each worker end what it writes, and leave; a second call ends them now."""
        self._draining = True
        self._tell(Kind.DRAIN)

    async def until_left(self, within_s: float) -> None:
        """Return when no worker is there any more and nothing is being answered for one.

        What goes on longer than ``within_s`` is cancelled.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._left.wait()
                await asyncio.gather(*self._tasks)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _tell(self, kind: Kind, body: bytes = b"") -> None:
        for life in self._lives:
            life.channel.send(kind, 0, body)


class _Life:
    """One life of a worker."""

    def __init__(
        self,
        channel: Channel,
        hand: socket.socket,
        answering: Answering,
        on_ready: Callable[[], None],
    ) -> None:
        self.channel = channel
        self.hand = hand
        self._answering = answering
        self._on_ready = on_ready
        self._gone = asyncio.Event()
        self.ready = False
        """Whether it takes connections."""
        self.hung = False
        """Whether it was there and said nothing any more."""
        self._heard_s = asyncio.get_running_loop().time()

    def take(self, told: Message) -> None:
        """Take a message of the worker."""
        self._heard_s = asyncio.get_running_loop().time()
        if told.kind is Kind.READY:
            self.ready = True
            self._on_ready()
        elif told.number:
            self._answering.take(told)

    def leave(self) -> None:
        """The worker is gone."""
        self._gone.set()

    async def watch(self, silent_s: float) -> None:
        """Return when the worker is gone or hangs; what it read then knows that nobody waits."""
        try:
            while not self._gone.is_set() and not self._hangs(silent_s):
                self.channel.send(Kind.PING, 0)
                with suppress(TimeoutError):
                    async with asyncio.timeout(silent_s / _PINGS):
                        await self._gone.wait()
            self.hung = not self._gone.is_set()
        finally:
            self.channel.close()
            self._answering.leave()

    def _hangs(self, silent_s: float) -> bool:
        allowed_s = silent_s if self.ready else max(silent_s, _START_S)
        return asyncio.get_running_loop().time() - self._heard_s > allowed_s


async def _start(channel: socket.socket, taking: socket.socket) -> asyncio.subprocess.Process:
    given: Sequence[int] = (channel.fileno(), taking.fileno())
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-s", "-S", "-m", "veneer_server.workers.process"),
        *map(str, given),
        env=_environment(),
        pass_fds=given,
        stdin=asyncio.subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C in the server's terminal must not reach it
    )


def _environment() -> dict[str, str]:
    # What reads strangers' bytes first must hold no key.
    kept = ("LANG", "LC_ALL", "TZ", "TERM", "NO_COLOR", "FORCE_COLOR")
    return {
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        **{name: os.environ[name] for name in kept if name in os.environ},
    }
