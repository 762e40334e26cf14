"""From a location to the two files of an adapter, whichever source they come from.

A fetcher asks its source once. This file decides which fetcher asks, how often, for how long and
for how many bytes. A fetch that failed leaves nothing behind.
"""

import asyncio
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import stamina
import structlog

from veneer_adapters.artifact.files import FILES
from veneer_adapters.errors import SourceNotAllowed, SourceUnavailable, TooLarge, quoted
from veneer_adapters.sources.locations import parse_location
from veneer_adapters.sources.pauses import Pauses

logger = structlog.get_logger(__name__)

OnBytes = Callable[[int, int | None], None]
"""Gets the bytes so far, and the total or None if it is unknown. The count begins again when a
source is asked again. An error that it raises ends the fetch."""

_LONGEST_PAUSE_S = 5.0


@dataclass(frozen=True, slots=True)
class Fetched:
    """Both files of an adapter, complete as far as the source can tell."""

    folder: Path
    pinned: str
    """A location that names exactly this content, as far as the source can do that."""


class TryAgain(Exception):
    """What a fetcher raises for: not now, but perhaps in a moment. It never leaves ``Fetching``."""

    def __init__(self, sentence: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(sentence)
        self.retry_after_s = retry_after_s


class Fetcher(Protocol):
    """One kind of source."""

    schemes: frozenset[str]

    def whom(self, location: str) -> str:
        """Return who is asked for ``location``: its pause holds for all that it has.

        Raises:
            SourceNotAllowed: the location is malformed.
        """

    async def fetch(self, location: str, into: Path, on_bytes: OnBytes) -> Fetched:
        """Fetch both files into the empty folder ``into``; ask the source once.

        Raises:
            SourceNotAllowed: the location is not allowed; the source was not asked.
            MissingFile: the source works and has no such adapter.
            SourceUnavailable: asking again cannot help now.
            TryAgain: asking again may help.
        """


class Fetching:
    """All the remote sources that adapters may be fetched from."""

    def __init__(
        self,
        fetchers: Iterable[Fetcher],
        *,
        timeout_s: float = 60.0,
        max_bytes: int = 4 << 30,
        tries: int = 4,
        pause_s: float = 0.2,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Ask at most ``tries`` times within ``timeout_s``, for at most ``max_bytes``.

        The first pause is ``pause_s`` long, each further one about twice as long, at most five
        seconds. A source that asks for a pause is left alone for as long, at most ten minutes.
        """
        self._fetchers = {scheme: fetcher for fetcher in fetchers for scheme in fetcher.schemes}
        self._timeout_s = timeout_s
        self._max_bytes = max_bytes
        self._tries = tries
        self._pause_s = pause_s
        self._pauses = Pauses(clock)

    def check(self, location: str) -> None:
        """Return when ``location`` is well-formed and there is a fetcher for its scheme.

        Raises:
            SourceNotAllowed: it is malformed, or there is no fetcher for its scheme.
        """
        self._fetcher_for(location)

    async def fetch(
        self, location: str, into: Path, on_bytes: OnBytes = lambda done, total: None
    ) -> Fetched:
        """Fetch both files of the adapter at ``location`` into the empty folder ``into``.

        After any failure, and after a cancellation, the folder is empty again.

        Raises:
            SourceNotAllowed: adapters may not come from this location.
            MissingFile: the source has no such adapter.
            TooLarge: both files together are larger than allowed.
            ChecksumMismatch: a file that arrived does not match the source's checksum.
            SourceUnavailable: the source failed or was too slow, each time, or asked for a pause
                that goes on; ``retry_after_s`` says how long.
            StorageFailed: the folder could not be written.
        """
        fetcher = self._fetcher_for(location)
        self._require_no_pause(fetcher.whom(location))
        failures: list[TryAgain] = []
        deadline = asyncio.timeout(self._timeout_s)
        try:
            async with deadline:
                return await self._ask(fetcher, location, into, self._capped(on_bytes), failures)
        except TryAgain as error:
            _empty(into)
            raise SourceUnavailable(str(error), retry_after_s=error.retry_after_s) from error
        except BaseException as error:
            _empty(into)
            if isinstance(error, TimeoutError) and deadline.expired():
                raise self._too_slow(failures) from error
            if isinstance(error, OSError | ValueError | RuntimeError):
                # No fetcher foresaw it. It must not cost more than this one adapter.
                logger.error("source failed", why=quoted(error), exc_info=error)
                raise SourceUnavailable("The source failed; the log has the error.") from error
            raise

    async def _ask(
        self,
        fetcher: Fetcher,
        location: str,
        into: Path,
        on_bytes: OnBytes,
        failures: list[TryAgain],
    ) -> Fetched:
        ends_s = asyncio.get_running_loop().time() + self._timeout_s
        whom = fetcher.whom(location)

        def pause(error: Exception) -> bool | float:
            if not isinstance(error, TryAgain):
                return False
            failures.append(error)
            if error.retry_after_s is None:
                return True
            self._pauses.begin(whom, error.retry_after_s)
            # The source wants no earlier request; after the deadline nobody needs the answer.
            fits = asyncio.get_running_loop().time() + error.retry_after_s < ends_s
            return error.retry_after_s if fits else False

        async for attempt in stamina.retry_context(
            on=pause,
            attempts=self._tries,
            timeout=None,
            wait_initial=self._pause_s,
            wait_max=_LONGEST_PAUSE_S,
            wait_jitter=self._pause_s,
        ):
            with attempt:
                _empty(into)
                return await fetcher.fetch(location, into, on_bytes)
        raise AssertionError("unreachable: stamina raises when the tries are used up")

    def _require_no_pause(self, whom: str) -> None:
        left_s = self._pauses.left_s(whom)
        if left_s:
            raise SourceUnavailable(
                f"The source asked for a pause, which ends in {math.ceil(left_s)} s.",
                retry_after_s=left_s,
            )

    def _capped(self, on_bytes: OnBytes) -> OnBytes:
        def count(done: int, total: int | None) -> None:
            if max(done, total or 0) > self._max_bytes:
                raise TooLarge(f"The adapter is larger than the allowed {self._max_bytes} bytes.")
            on_bytes(done, total)

        return count

    def _fetcher_for(self, location: str) -> Fetcher:
        scheme = parse_location(location).scheme
        if scheme not in self._fetchers:
            raise SourceNotAllowed(
                f"No {quoted(scheme)} source is allowed; the operator can allow one in `sources.*`."
            )
        return self._fetchers[scheme]

    def _too_slow(self, failures: list[TryAgain]) -> SourceUnavailable:
        why = f" Its last failure: {failures[-1]}" if failures else ""
        return SourceUnavailable(
            f"The source did not deliver the adapter within {self._timeout_s:g} seconds.{why}"
        )


def _empty(folder: Path) -> None:
    for name in FILES:
        (folder / name).unlink(missing_ok=True)
