"""Watches how the requests through guarded aliases end. Other requests cost almost nothing."""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol

from veneer_adapters.canaries.guarding import Guarding
from veneer_adapters.canaries.tally import Ending
from veneer_adapters.catalog.alias import Alias
from veneer_server.engine.base import NO_WEIGHTS, Endpoint
from veneer_server.serving.canaries.structured import Structure, judge, structure_of
from veneer_server.serving.canaries.texts import Texts
from veneer_server.serving.resolving import Resolved
from veneer_server.telemetry.observation import Observation

_MOST_WAITING = 100
"""Answers that may wait for a judgement. One more counts as an answer without structure."""


class Trial(Protocol):
    """Watches one request through a guarded alias: its answer, whole or in frames, then its end."""

    def document(self, body: Mapping[str, Any]) -> None:
        """Read a whole answer."""

    def frame(self, frame: bytes) -> None:
        """Read one event of a streamed answer."""

    def ended(self, seen: Observation) -> None:
        """Count the request by the outcome in ``seen``."""


class _NoTrial:
    def document(self, body: Mapping[str, Any]) -> None:
        """Ignore the answer."""

    def frame(self, frame: bytes) -> None:
        """Ignore the event."""

    def ended(self, seen: Observation) -> None:
        """Count nothing."""


NO_TRIAL: Trial = _NoTrial()
"""The trial of a request that no guard watches."""


class Canaries:
    """Reports to a ``Guarding`` how every request through a guarded alias ended."""

    def __init__(self, guarding: Guarding) -> None:
        self._guarding = guarding
        self._judge = ThreadPoolExecutor(1, thread_name_prefix="judge")
        self._waiting = 0

    def trial(self, resolved: Resolved, endpoint: Endpoint, body: Mapping[str, Any]) -> Trial:
        """Return the trial of a request; it is ``NO_TRIAL`` when no guard watches the request."""
        alias, revision = resolved.guarded, resolved.revision
        if alias is None or revision is None or endpoint in NO_WEIGHTS:
            return NO_TRIAL
        count = partial(self._guarding.count, revision.adapter, alias, revision.number)
        structure = structure_of(endpoint, body)
        if structure is None:
            return _Counted(count)
        return _Read(count, Texts(endpoint), partial(self.judge, structure))

    def failed(self, endpoint: Endpoint, adapter: str, alias: Alias, revision: int) -> None:
        """Count a request that ``alias`` sent to a failed ``revision``."""
        if endpoint not in NO_WEIGHTS:
            self._guarding.count(adapter, alias, revision, Ending.FAILED)

    def judge(self, structure: Structure, texts: list[str], then: "_Count") -> None:
        """Judge ``texts`` in a thread, then call ``then`` with the ending on the event loop.

        When too many answers wait, ``then`` gets ANSWERED at once.
        """
        if self._waiting >= _MOST_WAITING:
            then(Ending.ANSWERED)
            return

        def done(future: "asyncio.Future[Ending]") -> None:
            self._waiting -= 1
            if not future.cancelled():
                then(future.result())

        self._waiting += 1
        loop = asyncio.get_running_loop()
        loop.run_in_executor(self._judge, judge, structure, texts).add_done_callback(done)

    def close(self) -> None:
        """Drop the answers that wait to be judged, and judge no further ones."""
        self._judge.shutdown(wait=False, cancel_futures=True)


_Count = Callable[[Ending], None]


class _Counted(_NoTrial):
    """A request that asked for no structure."""

    def __init__(self, count: _Count) -> None:
        self._count = count

    def ended(self, seen: Observation) -> None:
        """Count an answer or a failure.

        A request that the client broke off, or that the engine refused, does not count.
        """
        if seen.outcome == "failed":
            self._count(Ending.FAILED)
        elif seen.outcome == "completed":
            self._completed()

    def _completed(self) -> None:
        self._count(Ending.ANSWERED)


class _Read(_Counted):
    """A request that asked for a structure; an answer that was cut off counts as broken."""

    def __init__(
        self, count: _Count, texts: Texts, judge: Callable[[list[str], _Count], None]
    ) -> None:
        super().__init__(count)
        self._texts = texts
        self._judge = judge

    def document(self, body: Mapping[str, Any]) -> None:
        self._texts.document(body)

    def frame(self, frame: bytes) -> None:
        self._texts.frame(frame)

    def _completed(self) -> None:
        if self._texts.cut:
            self._count(Ending.BROKEN)
        else:
            self._judge(self._texts.found(), self._count)
