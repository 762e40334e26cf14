"""Which adapters are in the engine: slots, leases, and one load at a time for each revision.

The caches of the engine must never have to evict: this file makes room before it loads anything,
and what a request holds stays. Every decision is made between two awaits, so nothing can happen
between a check and the change it allows. The tasks of this file only carry decisions out.

Revisions that wait for a place wait in one queue: first come, first served. A request for a
revision in a device slot waits only when others wait and that slot has had its turn.
"""

import asyncio
import itertools
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import Context, copy_context
from dataclasses import dataclass
from typing import Protocol

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
from veneer_adapters.events import (
    ColdStart,
    Evicted,
    EvictionReason,
    LoadFinished,
    LoadStage,
    Observer,
    Origin,
    Outcome,
    StageFinished,
    Unobserved,
)
from veneer_adapters.lifecycle import Event, State
from veneer_adapters.residency.engine import AdapterEngine
from veneer_adapters.residency.eviction import Resident
from veneer_adapters.residency.slots import Capacity, Claim, Plan, Slot, choose_to_yield
from veneer_adapters.residency.weights import Weights

logger = structlog.get_logger(__name__)

__all__ = ["AdapterEngine", "Lease", "Observer", "Residency", "Unobserved"]


class Voucher(Protocol):
    """Says whether a revision may be used; asked before and after each load from disk."""

    async def before_load(self, revision: Revision) -> Weights:
        """Return what to load for ``revision``, when it is undamaged; raises AdapterError."""

    async def after_load(self, revision: Revision, engine_id: int) -> None:
        """Return when ``revision`` does what it should in the engine; raises AdapterError."""


class Trusting:
    """The voucher that accepts every revision."""

    async def before_load(self, revision: Revision) -> Weights:
        """Accept the files without a check."""
        return Weights(revision.path)

    async def after_load(self, revision: Revision, engine_id: int) -> None:
        """Accept the loaded revision without a check."""


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
        self._engine = engine
        # One host slot stays empty, because vLLM loads an adapter before it evicts another.
        self._capacity = Capacity(device_slots, host_slots - 1)
        self._load_timeout_s = load_timeout_s
        self._clock = clock
        self._ids = ids or itertools.count(1)
        self._observer = observer or Unobserved()
        self._voucher = voucher or Trusting()
        self._slots: dict[str, Slot] = {}
        self._occupants: set[Slot] = set()
        self._queue: deque[Slot] = deque()
        self._pinned: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def most_pinned(self) -> int:
        """How many adapters may be pinned: one device slot stays for all that are not."""
        return self._capacity.device - 1

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
        claim = self._claim(revision)
        cold_start_s = None
        try:
            if not claim.is_served:
                await self._wait(claim)
                cold_start_s = self._clock() - asked_s
                self._observer.on_event(ColdStart(revision.adapter, cold_start_s))
            slot = claim.slot
            yield Lease(slot.engine_id, slot.key, cold_start_s, slot.compressed)
        finally:
            self._release(claim)

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
            slot = self._slots[revision.engine_name]
            self._pinned.add(revision.engine_name)
            slot.forgotten = False
            slot.end_yielding()
            slot.landed.set()

    def unpin(self, revision: Revision) -> None:
        """Allow the eviction of ``revision`` again; a no-op when it is not pinned."""
        self._pinned.discard(revision.engine_name)
        self._admit()

    def forget(self, revision: Revision) -> None:
        """Unload ``revision`` as soon as no request holds it, pinned or not.

        Until then it goes on serving the requests that hold it or ask for it.
        """
        self._pinned.discard(revision.engine_name)
        slot = self._slots.get(revision.engine_name)
        if slot is not None:
            slot.forgotten = True
            self._drop_if_forgotten(slot)
        self._admit()

    def recall(self, revision: Revision) -> None:
        """Take back ``forget``, if ``revision`` has not begun to leave yet."""
        slot = self._slots.get(revision.engine_name)
        if slot is not None:
            slot.forgotten = False

    def reset(self, failure: Exception) -> list[Revision]:
        """Begin again with empty slots, because the engine is gone with all that it held.

        Requests that waited get ``failure``, open leases end as usual, and no engine id is used
        again. Pins stay: a pinned revision is kept once it is loaded again. Returns what was in
        device slots: pinned revisions first, then those that were used last.
        """
        for task in self._tasks:
            task.cancel()
        held = [slot for slot in self._slots.values() if slot.on_device]
        held.sort(key=lambda slot: (slot.key in self._pinned, len(slot.holders), slot.last_used_s))
        for slot in {*self._slots.values(), *self._occupants}:
            slot.on_device = slot.on_host = False
            slot.failure = failure
            slot.landed.set()
        self._slots.clear()
        self._occupants.clear()
        self._queue.clear()
        return [slot.revision for slot in reversed(held)]

    def suspects(self, within_s: float) -> list[Revision]:
        """Return what may have brought the engine down.

        That is what it loads or proves at this instant, and what a request uses that has been in
        the engine for less than ``within_s``.
        """
        now_s = self._clock()
        return [
            slot.revision
            for slot in self._slots.values()
            if slot.state is State.LOADING
            or (slot.usable and slot.holders and now_s - slot.loaded_s < within_s)
        ]

    def survivors(self, after_s: float) -> list[Revision]:
        """Return what has been in the engine for ``after_s`` or longer, and was used there."""
        since_s = self._clock() - after_s
        return [
            slot.revision
            for slot in self._slots.values()
            if slot.usable
            and slot.loaded_s <= since_s
            and (slot.holders or slot.last_used_s > slot.loaded_s)
        ]

    def snapshot(self) -> list[Resident]:
        """Return what is in the engine's slots at this instant, by engine name."""
        settled = [slot for slot in self._slots.values() if slot.state is State.RESIDENT]
        return sorted((s.to_resident(self._pinned) for s in settled), key=lambda r: r.revision)

    def digests(self) -> set[str]:
        """Return the digest of every revision that is in the engine or waits to enter it."""
        return {slot.revision.digest for slot in tuple(self._slots.values())}

    def waiting(self) -> list[str]:
        """Return, by engine name, the revisions that requests wait for at this instant."""
        slots = self._slots.values()
        return sorted(s.key for s in slots if s.later or (s.holders and not s.usable))

    def is_open(self, engine_name: str) -> bool:
        """Return whether a request for this revision would get its lease at once."""
        slot = self._slots.get(engine_name)
        return slot is not None and slot.is_open

    def state_of(self, revision: Revision) -> State:
        """Return what the engine does with ``revision``; READY when it does not have it."""
        slot = self._slots.get(revision.engine_name)
        return State.READY if slot is None else slot.state

    # The decisions. No await in any of them: nothing else runs between a check and its change.

    def _claim(self, revision: Revision) -> Claim:
        if self._queue:
            self._take_turns()
        slot = self._slots.get(revision.engine_name)
        if slot is None:
            slot = self._slots[revision.engine_name] = Slot(revision)
        claim = slot.claim()
        self._enqueue(slot)
        self._admit()
        return claim

    def _release(self, claim: Claim) -> None:
        slot = claim.slot
        slot.drop(claim)
        slot.last_used_s = self._clock()
        if not slot.holders:
            self._dequeue(slot)
            self._drop_if_forgotten(slot)
        self._admit()

    def _enqueue(self, slot: Slot) -> None:
        waits = slot.state is State.READY or (slot.state is State.RESIDENT and not slot.on_device)
        if waits and slot not in self._queue:
            slot.asker = copy_context()
            self._queue.append(slot)

    def _dequeue(self, slot: Slot) -> None:
        if slot in self._queue:
            self._queue.remove(slot)
        if slot.state is State.READY:
            self._detach(slot)

    def _detach(self, slot: Slot) -> None:
        # From here on a new request gets a new slot, with a new engine id.
        if self._slots.get(slot.key) is slot:
            del self._slots[slot.key]
        if slot.later:
            heir = self._slots.setdefault(slot.key, Slot(slot.revision))
            slot.hand_over(heir)
            self._enqueue(heir)

    def _admit(self) -> None:
        while self._queue:
            slot = self._queue[0]
            plan = self._capacity.plan(slot, self._occupants, self._pinned)
            if plan is None:
                break
            self._queue.popleft()
            if plan.unload is not None:
                self._occupants.discard(plan.unload)
                self._detach(plan.unload)
            plan.commit(slot)
            self._occupants.add(slot)
            self._start(self._enter(slot, plan), slot.asker)
        self._take_turns()

    def _take_turns(self) -> None:
        """See to it that as many slots in use yield as revisions wait, and no more."""
        yielding = [slot for slot in self._occupants if slot.yielding and slot.usable]
        for slot in yielding[len(self._queue) :]:
            slot.end_yielding()
            slot.landed.set()
        for _ in range(len(self._queue) - len(yielding)):
            chosen = choose_to_yield(self._occupants, self._pinned, self._clock())
            if chosen is None:
                return
            chosen.begin_yielding()

    def _drop_if_forgotten(self, slot: Slot) -> None:
        if slot.forgotten and slot.idle and slot in self._occupants:
            slot.step(Event.EVICT)
            self._detach(slot)
            self._start(self._drop(slot))

    def _start(self, work: Coroutine[None, None, None], asker: Context | None = None) -> None:
        task = asyncio.create_task(work, context=asker)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # The acts. Each carries out one decision; then the next decision can be made.

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
            await self._load(slot)
        except Exception as error:  # Whatever the engine raises, every waiter gets it.
            await self._clean(slot, error)
        else:
            slot.step(Event.LOADED)
            slot.last_used_s = slot.loaded_s = self._clock()
            slot.load_took_s = slot.loaded_s - began_s
            slot.landed.set()
            self._drop_if_forgotten(slot)
        self._admit()

    async def _leave(self, slot: Slot, plan: Plan) -> None:
        try:
            if plan.unload is not None:
                await self._unload(plan.unload, "room")
            if plan.deactivate is not None:
                await self._deactivate(plan.deactivate)
        except Exception:
            plan.revoke(slot)
            if plan.deactivate is not None:
                self._drop_if_forgotten(plan.deactivate)
            raise

    async def _load(self, slot: Slot) -> None:
        origin: Origin = "host" if slot.engine_id else "disk"
        outcome: Outcome = "failed"
        try:
            if origin == "host":
                with self._timed(slot, LoadStage.ACTIVATE):
                    await self._engine.activate_adapter(slot.engine_id)
            else:
                await self._load_from_disk(slot)
            outcome = "loaded"
        finally:
            self._observer.on_event(LoadFinished(slot.revision.adapter, origin, outcome))

    async def _load_from_disk(self, slot: Slot) -> None:
        weights = await self._voucher.before_load(slot.revision)
        slot.compressed = weights.error
        slot.engine_id = next(self._ids)
        with self._timed(slot, LoadStage.LOAD):
            await self._engine.load_adapter(slot.engine_id, slot.key, weights.path)
        await self._voucher.after_load(slot.revision, slot.engine_id)

    @contextmanager
    def _timed(self, slot: Slot, stage: LoadStage) -> Iterator[None]:
        started_s = self._clock()
        try:
            yield
        finally:
            seconds = self._clock() - started_s
            self._observer.on_event(StageFinished(slot.revision.adapter, stage, seconds))

    async def _clean(self, slot: Slot, error: Exception) -> None:
        logger.warning("adapter not loaded", revision=slot.revision.label, error=repr(error))
        slot.step(Event.LOAD_FAILED)
        self._detach(slot)
        slot.failure = error
        await self._unload_or_log(slot, "load_failed")
        slot.landed.set()

    async def _drop(self, slot: Slot) -> None:
        await self._unload_or_log(slot, "forgotten")
        self._admit()

    async def _unload_or_log(self, slot: Slot, reason: EvictionReason) -> None:
        try:
            await self._unload(slot, reason)
        except Exception as error:  # It keeps its place, and is the first to be evicted next.
            logger.warning("slot not cleaned", revision=slot.revision.label, error=repr(error))

    async def _unload(self, slot: Slot, reason: EvictionReason) -> None:
        if slot.engine_id:
            try:
                await self._engine.unload_adapter(slot.engine_id)
            except Exception:
                self._keep(slot)
                raise
            self._observer.on_event(Evicted(slot.revision.adapter, "host", reason))
        slot.step(Event.EVICTED)
        self._occupants.discard(slot)

    async def _deactivate(self, slot: Slot) -> None:
        try:
            await self._engine.deactivate_adapter(slot.engine_id)
        except Exception as error:
            slot.on_device = True
            slot.end_yielding()
            self._detach(slot)
            self._keep(slot)
            # Requests may have begun to wait until it is back in a device slot.
            slot.failure = error
            slot.landed.set()
            raise
        self._observer.on_event(Evicted(slot.revision.adapter, "device", "room"))
        slot.step(Event.DEACTIVATED)
        slot.end_yielding()
        if slot.holders:
            self._enqueue(slot)
        self._drop_if_forgotten(slot)
        self._admit()

    def _keep(self, slot: Slot) -> None:
        # It may still be in the engine, so its place is not free until an unload succeeds.
        slot.step(Event.EVICT_FAILED)
        slot.forgotten = True
        slot.last_used_s = -math.inf
        self._occupants.add(slot)
