"""Which revision has which place, and who waits: every decision about the slots, and no act.

Nothing here awaits, so nothing can happen between a check and the change it allows. Revisions that
wait for a place wait in one queue: first come, first served. A request for a revision in a device
slot waits only when others wait and that slot has had its turn.
"""

import math
from collections import deque
from collections.abc import Callable
from contextvars import copy_context

from veneer_adapters.catalog.revision import Revision
from veneer_adapters.lifecycle import Event, State
from veneer_adapters.residency.slots import Capacity, Claim, Plan, Slot, choose_to_yield


class Books:
    """Who has the places of one engine."""

    def __init__(
        self,
        capacity: Capacity,
        clock: Callable[[], float],
        *,
        enter: Callable[[Slot, Plan], None],
        drop: Callable[[Slot], None],
    ) -> None:
        """``enter`` and ``drop`` begin to carry out what was decided, and return at once."""
        self.capacity = capacity
        self.slots: dict[str, Slot] = {}
        self.occupants: set[Slot] = set()
        self.queue: deque[Slot] = deque()
        self.pinned: set[str] = set()
        self._clock = clock
        self._enter = enter
        self._drop = drop

    def claim(self, revision: Revision) -> Claim:
        """Return a new claim on ``revision``; it waits in the queue unless it is served at once."""
        if self.queue:
            self._take_turns()
        slot = self.slots.get(revision.engine_name)
        if slot is None:
            slot = self.slots[revision.engine_name] = Slot(revision)
        claim = slot.claim()
        self.enqueue(slot)
        self.admit()
        return claim

    def release(self, claim: Claim) -> None:
        """Take back ``claim``; who waits may get the place."""
        slot = claim.slot
        slot.drop(claim)
        slot.last_used_s = self._clock()
        if not slot.holders:
            self._dequeue(slot)
            self.drop_if_forgotten(slot)
        self.admit()

    def pin(self, revision: Revision) -> None:
        """Keep ``revision``, which is in a device slot, there until ``unpin`` or ``forget``."""
        slot = self.slots[revision.engine_name]
        self.pinned.add(revision.engine_name)
        slot.forgotten = False
        slot.end_yielding()
        slot.landed.set()

    def unpin(self, revision: Revision) -> None:
        """Allow the eviction of ``revision`` again; a no-op when it is not pinned."""
        self.pinned.discard(revision.engine_name)
        self.admit()

    def forget(self, revision: Revision) -> None:
        """Let ``revision`` leave as soon as no request holds it, pinned or not."""
        self.pinned.discard(revision.engine_name)
        slot = self.slots.get(revision.engine_name)
        if slot is not None:
            slot.forgotten = True
            self.drop_if_forgotten(slot)
        self.admit()

    def recall(self, revision: Revision) -> None:
        """Take back ``forget``, if ``revision`` has not begun to leave yet."""
        slot = self.slots.get(revision.engine_name)
        if slot is not None:
            slot.forgotten = False

    def clear(self, failure: Exception) -> list[Revision]:
        """Empty all places and tell those that wait of ``failure``; pins stay.

        Returns what was in device slots: pinned revisions first, then those that were used last.
        """
        held = [slot for slot in self.slots.values() if slot.on_device]
        held.sort(key=lambda slot: (slot.key in self.pinned, len(slot.holders), slot.last_used_s))
        for slot in {*self.slots.values(), *self.occupants}:
            slot.on_device = slot.on_host = False
            slot.failure = failure
            slot.landed.set()
        self.slots.clear()
        self.occupants.clear()
        self.queue.clear()
        return [slot.revision for slot in reversed(held)]

    def enqueue(self, slot: Slot) -> None:
        """Let ``slot`` wait for a place, if it needs one."""
        waits = slot.state is State.READY or (slot.state is State.RESIDENT and not slot.on_device)
        if waits and slot not in self.queue:
            slot.asker = copy_context()
            self.queue.append(slot)

    def detach(self, slot: Slot) -> None:
        """Give the name of ``slot`` to whoever comes next, and to those that wait for it."""
        # From here on a new request gets a new slot, with a new engine id.
        if self.slots.get(slot.key) is slot:
            del self.slots[slot.key]
        if slot.later:
            heir = self.slots.setdefault(slot.key, Slot(slot.revision))
            slot.hand_over(heir)
            self.enqueue(heir)

    def admit(self) -> None:
        """Let in whoever waits, in order, as far as others can leave."""
        while self.queue:
            slot = self.queue[0]
            plan = self.capacity.plan(slot, self.occupants, self.pinned)
            if plan is None:
                break
            self.queue.popleft()
            if plan.unload is not None:
                self.occupants.discard(plan.unload)
                self.detach(plan.unload)
            plan.commit(slot)
            self.occupants.add(slot)
            self._enter(slot, plan)
        self._take_turns()

    def drop_if_forgotten(self, slot: Slot) -> None:
        """Begin to unload ``slot``, if nobody wants or holds it any more."""
        if slot.forgotten and slot.idle and slot in self.occupants:
            slot.step(Event.EVICT)
            self.detach(slot)
            self._drop(slot)

    def keep(self, slot: Slot) -> None:
        """Leave ``slot`` its place, because it did not leave the engine; it is the first to go."""
        # It may still be in the engine, so its place is not free until an unload succeeds.
        slot.step(Event.EVICT_FAILED)
        slot.forgotten = True
        slot.last_used_s = -math.inf
        self.occupants.add(slot)

    def _dequeue(self, slot: Slot) -> None:
        if slot in self.queue:
            self.queue.remove(slot)
        if slot.state is State.READY:
            self.detach(slot)

    def _take_turns(self) -> None:
        """See to it that as many slots in use yield as revisions wait, and no more."""
        yielding = [slot for slot in self.occupants if slot.yielding and slot.usable]
        for slot in yielding[len(self.queue) :]:
            slot.end_yielding()
            slot.landed.set()
        for _ in range(len(self.queue) - len(yielding)):
            chosen = choose_to_yield(self.occupants, self.pinned, self._clock())
            if chosen is None:
                return
            chosen.begin_yielding()
