"""One prompt for several models at once; their answers come side by side.

Each model gets a request of its own, so each is resolved, leased, counted and ended as any other.
They run together, and the engine batches them.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from veneer_server.engine.base import Endpoint
from veneer_server.serving.requests import Document, RequestService, Served
from veneer_server.serving.resolving import Asker

_AHEAD = 64
"""How many reports may wait for a reader who is slow; then the generations wait too."""


@dataclass(frozen=True, slots=True)
class Began:
    """The first part of an answer is there, and it is known who answers."""

    served: Served


@dataclass(frozen=True, slots=True)
class Part:
    """One event of a stream, as the engine wrote it."""

    frame: bytes


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole answer, as the engine wrote it."""

    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Ended:
    """The answer is complete."""

    duration_s: float
    """Since the comparison began."""


@dataclass(frozen=True, slots=True)
class Failed:
    """There will be no answer, or no more of it."""

    error: Exception
    duration_s: float


Report = Began | Part | Whole | Ended | Failed


class Comparison:
    """The answers to several bodies. The caller must close it; that ends every generation."""

    def __init__(
        self,
        requests: RequestService,
        bodies: Sequence[Mapping[str, Any]],
        ids: dict[str, str] | None = None,
        asker: Asker | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare to answer chat ``bodies``; ``ids`` and ``asker`` are those of ``respond``."""
        self._requests = requests
        self._bodies = bodies
        self._for = (ids, asker)
        self._clock = clock
        self._reports: asyncio.Queue[tuple[int, Report]] = asyncio.Queue(_AHEAD)
        self._held: list[tuple[int, Report]] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def begin(self) -> "Comparison":
        """Ask all models, and return this comparison as soon as one of them answers.

        Raises:
            Exception: none of them answers; it is the error of the first one that failed.
        """
        began_s = self._clock()
        self._tasks = [asyncio.create_task(self._ask(i, began_s)) for i in range(len(self._bodies))]
        try:
            while len(self._held) < len(self._bodies):
                self._held.append(await self._reports.get())
                if not isinstance(self._held[-1][1], Failed):
                    return self
            raise next(r.error for _, r in self._held if isinstance(r, Failed))
        except BaseException:
            await self.aclose()
            raise

    async def __aiter__(self) -> AsyncIterator[tuple[int, Report]]:
        """Yield the place of a body and a report on its answer, until all answers have ended."""
        running = len(self._bodies)
        while running:
            found = self._held.pop(0) if self._held else await self._reports.get()
            running -= isinstance(found[1], Ended | Failed)
            yield found

    async def aclose(self) -> None:
        """Stop every generation that still runs; a second call does nothing."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _ask(self, place: int, began_s: float) -> None:
        try:
            found = await self._requests.respond(Endpoint.CHAT, self._bodies[place], *self._for)
            await self._tell(place, Began(found.served))
            if isinstance(found, Document):
                await self._tell(place, Whole(found.body))
            else:
                async with aclosing(found):
                    async for frame in found:
                        await self._tell(place, Part(frame))
        except Exception as error:  # its reader decides what to make of it
            await self._tell(place, Failed(error, self._clock() - began_s))
        else:
            await self._tell(place, Ended(self._clock() - began_s))

    async def _tell(self, place: int, report: Report) -> None:
        await self._reports.put((place, report))
