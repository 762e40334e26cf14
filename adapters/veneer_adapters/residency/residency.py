"""Which adapters are in the engine: slots, leases, and one load at a time for each revision.

The caches of the engine must never have to evict: ``books`` makes room before anything is loaded,
and what a request holds stays. ``books`` decides, without an await; this file waits, and carries
the decisions out with ``loader``, each in a task of its own.
"""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from contextvars import Context
from dataclasses import dataclass

import structlog

from veneer_adapters.catalog.revision import Revision
from veneer_adapters.errors import (
    AdapterFailed,
    AdapterNotFound,
    AdapterRejected,
    LoadFailed,
    LoadTimedOut,
    NoSlotFree,
    quoted,
)
from veneer_adapters.events import ColdStart, EvictionReason, Observer, Unobserved
from veneer_adapters.lifecycle import Event, State
from veneer_adapters.residency import looks
from veneer_adapters.residency.books import Books
from veneer_adapters.residency.engine import AdapterEngine
from veneer_adapters.residency.eviction import Resident
from veneer_adapters.residency.loader import Loader
from veneer_adapters.residency.slots import Capacity, Claim, Plan, Slot
from veneer_adapters.residency.vouchers import Trusting, Voucher

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Lease:
    """One request's hold on an adapter that is in a device slot."""

    engine_id: int
    engine_name: str
    cold_start_s: float | None
    """How long the request waited for a load, in seconds; None when it did not wait."""
    compressed: float | None = None
    """The relative error of an adapter that was compressed to fit its slot, else None."""


class Residency:
    """Keeps revisions in the engine's slots for as long as requests hold them."""

    def __init__(
        self,
        engine: AdapterEngine,
        *,
        device_slots: int,
        host_slots: int,
        load_timeout_s: float,
        clock: Callable[[], float] = time.monotonic,
        ids: Iterator[int] | None = None,
        observer: Observer | None = None,
        voucher: Voucher | None = None,
    ) -> None:
        """Manage the slots of ``engine``; all of them must be empty now.

        ``load_timeout_s`` is how long one request waits at most, for a place and for the load
        together. ``ids`` yields the engine ids, each of them once.
        """
        if device_slots < 1 or host_slots < 2:
            raise ValueError("device_slots must be at least 1 and host_slots at least 2")
        self._load_timeout_s = load_timeout_s
        self._clock = clock
        self._observer = observer or Unobserved()
        self._loader = Loader(
            engine, voucher or Trusting(), self._observer, clock, ids or itertools.count(1)
        )
        self._books = Books(
            # One host slot stays empty, because vLLM loads an adapter before it evicts another.
            Capacity(device_slots, host_slots - 1),
            clock,
            enter=lambda slot, plan: self._start(self._enter(slot, plan), slot.asker),
            drop=lambda slot: self._start(self._drop(slot)),
        )
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def most_pinned(self) -> int:
        """How many adapters may be pinned: one device slot stays for all that are not."""
        return self._books.capacity.device - 1

    @asynccontextmanager
    async def lease(self, revision: Revision) -> AsyncIterator[Lease]:
        """Hold ``revision`` in a device slot for the length of the block.

        Concurrent leases of one revision share a single load, which goes on when some of them give
        up. The adapter leaves its slot only when no lease is open.

        Raises:
            NoSlotFree: every slot stayed leased or pinned for ``load_timeout_s``.
            LoadFailed: the engine could not load it. Every request that waited gets this; what is
                left in the engine is unloaded.
            LoadTimedOut: the engine was still loading after ``load_timeout_s``.
            AdapterFailed: its files are lost, or it failed its proof.
            AdapterNotFound: its adapter was removed meanwhile.
        """
        asked_s = self._clock()
        claim = self._books.claim(revision)
        cold_start_s = None
        try:
            if not claim.is_served:
                await self._wait(claim)
                cold_start_s = self._clock() - asked_s
                self._observer.on_event(ColdStart(revision.adapter, cold_start_s))
            slot = claim.slot
            yield Lease(slot.engine_id, slot.key, cold_start_s, slot.compressed)
        finally:
            self._books.release(claim)

    async def warm(self, revision: Revision) -> None:
        """Load ``revision``, and prove it if it never was; afterwards it may be evicted again.

        Raises what ``lease`` raises.
        """
        async with self.lease(revision):
            return

    async def pin(self, revision: Revision) -> None:
        """Load ``revision`` and keep it in its device slot until ``unpin`` or ``forget``.

        Raises what ``lease`` raises; then it is not pinned.
        """
        async with self.lease(revision):
            self._books.pin(revision)

    def unpin(self, revision: Revision) -> None:
        """Allow the eviction of ``revision`` again; a no-op when it is not pinned."""
        self._books.unpin(revision)

    def forget(self, revision: Revision) -> None:
        """Unload ``revision`` as soon as no request holds it, pinned or not.

        Until then it goes on serving the requests that hold it or ask for it.
        """
        self._books.forget(revision)

    def recall(self, revision: Revision) -> None:
        """Take back ``forget``, if ``revision`` has not begun to leave yet."""
        self._books.recall(revision)

    def reset(self, failure: Exception) -> list[Revision]:
        """Begin again with empty slots, because the engine is gone with all that it held.

        Requests that waited get ``failure``, open leases end as usual, and no engine id is used
        again. Pins stay: a pinned revision is kept once it is loaded again. Returns what was in
        device slots: pinned revisions first, then those that were used last.
        """
        for task in self._tasks:
            task.cancel()
        return self._books.clear(failure)

    def suspects(self, within_s: float) -> list[Revision]:
        """Return what may have brought the engine down.

        That is what it loads or proves at this instant, and what a request uses that has been in
        the engine for less than ``within_s``.
        """
        return looks.suspects(self._books.slots.values(), self._clock() - within_s)

    def survivors(self, after_s: float) -> list[Revision]:
        """Return what has been in the engine for ``after_s`` or longer, and was used there."""
        return looks.survivors(self._books.slots.values(), self._clock() - after_s)

    def snapshot(self) -> list[Resident]:
        """Return what is in the engine's slots at this instant, by engine name."""
        return looks.residents(self._books.slots.values(), self._books.pinned)

    def digests(self) -> set[str]:
        """Return the digest of every revision that is in the engine or waits to enter it."""
        return {slot.revision.digest for slot in tuple(self._books.slots.values())}

    def waiting(self) -> list[str]:
        """Return, by engine name, the revisions that requests wait for at this instant."""
        return looks.waiting(self._books.slots.values())

    def is_open(self, engine_name: str) -> bool:
        """Return whether a request for this revision would get its lease at once."""
        slot = self._books.slots.get(engine_name)
        return slot is not None and slot.is_open

    def state_of(self, revision: Revision) -> State:
        """Return what the engine does with ``revision``; READY when it does not have it."""
        slot = self._books.slots.get(revision.engine_name)
        return State.READY if slot is None else slot.state

    def _start(self, work: Coroutine[None, None, None], asker: Context | None = None) -> None:
        task = asyncio.create_task(work, context=asker)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _wait(self, claim: Claim) -> None:
        try:
            async with asyncio.timeout(self._load_timeout_s):
                while not (claim.is_served or claim.slot.failure):
                    await claim.slot.landed.wait()
        except TimeoutError:
            raise self._timed_out(claim) from None
        slot = claim.slot
        if isinstance(slot.failure, AdapterRejected):
            adapter, failure = slot.revision.adapter, slot.failure
            raise AdapterFailed(adapter, failure.reason, str(failure)) from failure
        if isinstance(slot.failure, AdapterNotFound):
            raise AdapterNotFound(slot.failure.name) from slot.failure
        if slot.failure is not None:
            adapter = quoted(slot.revision.adapter)
            raise LoadFailed(f"The adapter {adapter} could not be loaded.") from slot.failure

    def _timed_out(self, claim: Claim) -> NoSlotFree | LoadTimedOut:
        slot, wait = claim.slot, f"{self._load_timeout_s:g} s"
        adapter = quoted(slot.revision.adapter)
        if slot.state is State.LOADING:
            return LoadTimedOut(f"The adapter {adapter} was not loaded within {wait}.")
        return NoSlotFree(f"No slot became free for the adapter {adapter} within {wait}.")

    async def _enter(self, slot: Slot, plan: Plan) -> None:
        try:
            await self._leave(slot, plan)
            began_s = self._clock()
            await self._loader.load(slot)
        except Exception as error:  # Whatever the engine raises, every waiter gets it.
            await self._clean(slot, error)
        else:
            slot.step(Event.LOADED)
            slot.last_used_s = slot.loaded_s = self._clock()
            slot.load_took_s = slot.loaded_s - began_s
            slot.landed.set()
            self._books.drop_if_forgotten(slot)
        self._books.admit()

    async def _leave(self, slot: Slot, plan: Plan) -> None:
        try:
            if plan.unload is not None:
                await self._unload(plan.unload, "room")
            if plan.deactivate is not None:
                await self._deactivate(plan.deactivate)
        except Exception:
            plan.revoke(slot)
            if plan.deactivate is not None:
                self._books.drop_if_forgotten(plan.deactivate)
            raise

    async def _clean(self, slot: Slot, error: Exception) -> None:
        logger.warning("adapter not loaded", revision=slot.revision.label, error=repr(error))
        slot.step(Event.LOAD_FAILED)
        self._books.detach(slot)
        slot.failure = error
        await self._unload_or_log(slot, "load_failed")
        slot.landed.set()

    async def _drop(self, slot: Slot) -> None:
        await self._unload_or_log(slot, "forgotten")
        self._books.admit()

    async def _unload_or_log(self, slot: Slot, reason: EvictionReason) -> None:
        try:
            await self._unload(slot, reason)
        except Exception as error:  # It keeps its place, and is the first to be evicted next.
            logger.warning("slot not cleaned", revision=slot.revision.label, error=repr(error))

    async def _unload(self, slot: Slot, reason: EvictionReason) -> None:
        try:
            await self._loader.unload(slot, reason)
        except Exception:
            self._books.keep(slot)
            raise
        slot.step(Event.EVICTED)
        self._books.occupants.discard(slot)

    async def _deactivate(self, slot: Slot) -> None:
        try:
            await self._loader.deactivate(slot)
        except Exception as error:
            slot.on_device = True
            slot.end_yielding()
            self._books.detach(slot)
            self._books.keep(slot)
            # Requests may have begun to wait until it is back in a device slot.
            slot.failure = error
            slot.landed.set()
            raise
        slot.step(Event.DEACTIVATED)
        slot.end_yielding()
        if slot.holders:
            self._books.enqueue(slot)
        self._books.drop_if_forgotten(slot)
        self._books.admit()
