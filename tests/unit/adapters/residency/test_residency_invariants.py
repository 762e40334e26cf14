"""Whatever happens in whatever order: the engine is never overfull and nobody loses a lease.

Hypothesis drives leases, hang-ups, slow and failing engine calls, pins and forgetting; the
fake engine raises as soon as one of vLLM's own caches would have had to evict.
"""

import asyncio
import itertools
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from support import builders
from support.fake_engine import EngineBroken, FakeEngine, settle
from veneer_adapters.catalog.revision import Revision
from veneer_adapters.errors import AdapterUnavailable, LoadFailed
from veneer_adapters.residency.residency import Lease, Residency

DEVICE_SLOTS, HOST_SLOTS = 2, 4
REVISIONS = [builders.revision(name, digit) for name, digit in zip("abcde", "12345", strict=True)]

revisions = st.sampled_from(REVISIONS)
choice = st.integers(0, 1000)


class Request:
    """One client: waits for a lease, holds it until told, or gives up."""

    def __init__(self, residency: Residency, revision: Revision) -> None:
        self.revision = revision
        self.lease: Lease | None = None
        self.done = asyncio.Event()
        self.task = asyncio.create_task(self._run(residency))

    async def _run(self, residency: Residency) -> None:
        try:
            async with residency.lease(self.revision) as self.lease:
                await self.done.wait()
        except AdapterUnavailable:
            pass
        finally:
            self.lease = None


class ResidencyMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.host = FakeEngine(device_slots=DEVICE_SLOTS, host_slots=HOST_SLOTS)
        self.host.held = True
        ticks = itertools.count()
        self.residency = Residency(
            self.host,
            device_slots=DEVICE_SLOTS,
            host_slots=HOST_SLOTS,
            load_timeout_s=1000.0,
            clock=lambda: float(next(ticks)),
        )
        self.requests: list[Request] = []
        self.pins: set[Revision] = set()

    def run(self, work: Coroutine[Any, Any, None] | None = None) -> None:
        async def step() -> None:
            if work is not None:
                await work
            await settle()

        self.loop.run_until_complete(step())
        self.requests = [r for r in self.requests if not r.task.done()]

    @rule(revision=revisions)
    def a_request_arrives(self, revision: Revision) -> None:
        async def arrive() -> None:
            self.requests.append(Request(self.residency, revision))

        self.run(arrive())

    @precondition(lambda self: self.requests)
    @rule(which=choice)
    def a_request_ends(self, which: int) -> None:
        self.requests[which % len(self.requests)].done.set()
        self.run()

    @precondition(lambda self: self.requests)
    @rule(which=choice)
    def a_client_hangs_up(self, which: int) -> None:
        self.requests[which % len(self.requests)].task.cancel()
        self.run()

    @precondition(lambda self: self.host.pending)
    @rule(which=choice, fails=st.sampled_from([False, False, False, True]))
    def the_engine_finishes_a_call(self, which: int, *, fails: bool) -> None:
        index = which % len(self.host.pending)
        self.host.finish(index, EngineBroken("by the test") if fails else None)
        self.run()

    @rule(revision=revisions)
    def a_revision_is_forgotten(self, revision: Revision) -> None:
        async def forget() -> None:
            self.residency.forget(revision)

        self.run(forget())

    @invariant()
    def the_engine_is_never_overfull(self) -> None:
        self.host.check()

    @invariant()
    def what_is_leased_is_on_the_device_and_is_what_was_asked_for(self) -> None:
        for request in self.requests:
            if request.lease is not None:
                assert request.lease.engine_id in self.host.device
                assert self.host.names[request.lease.engine_id] == request.revision.adapter

    @invariant()
    def nothing_waits_while_a_place_is_free(self) -> None:
        waiting = [r for r in self.requests if r.lease is None]
        busy = {r.lease.engine_id for r in self.requests if r.lease is not None}
        if waiting and not self.host.pending:
            # Nothing is under way and somebody waits: then every device slot is leased.
            assert len(busy) == DEVICE_SLOTS

    def teardown(self) -> None:
        try:
            self._everything_comes_to_rest()
        finally:
            self.run(self._cancel_what_is_left())
            self.loop.close()

    def _everything_comes_to_rest(self) -> None:
        self.host.held = False
        for _ in range(50):
            for request in self.requests:
                request.done.set()
            while self.host.pending:
                self.host.finish()
            self.run()
        assert self.requests == [], "somebody waits for ever"
        assert all(resident.leases == 0 for resident in self.residency.snapshot())
        for revision in REVISIONS:
            self.a_revision_is_forgotten(revision)
        assert self.residency.snapshot() == []

    async def _cancel_what_is_left(self) -> None:
        self.residency.reset(LoadFailed("The test is over."))
        for request in self.requests:
            request.task.cancel()


class TestResidencyInvariants(ResidencyMachine.TestCase):
    settings = settings(max_examples=15, stateful_step_count=40, deadline=None)


@pytest.mark.slow
class TestResidencyInvariantsManyTimes(ResidencyMachine.TestCase):
    settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
