"""What occupies the slots of the engine, and what must leave before something can enter.

Rule 1: places change owner in these books first. One that is to enter gets the place of one that is
        to leave at one instant, but begins to load only when the other has left the engine. So the
        engine never holds more than it has room for.
Rule 2: this file awaits nothing and calls no engine; ``residency`` carries the plans out.
Rule 3: a slot that is always in use never becomes free by itself. So one of them yields to whoever
        waits: those that use it go on, new requests for it wait, and when it is idle it leaves.
"""

import asyncio
from collections.abc import Collection, Iterable
from contextvars import Context, copy_context
from dataclasses import dataclass, field

from veneer_adapters.catalog.revision import Revision
from veneer_adapters.lifecycle import Event, State, advance
from veneer_adapters.residency.eviction import Resident, choose_victim

TURN_LOADS = 10
"""How many times as long as its load took an adapter keeps a slot that others wait for, when it is
in use all the time. So at most about a tenth of the time goes into loads."""


@dataclass(eq=False, slots=True)
class Claim:
    """One lease that is open, or one request that waits for a lease."""

    slot: "Slot"

    @property
    def is_served(self) -> bool:
        """Whether the request may use the adapter now."""
        return self.slot.usable and self in self.slot.holders


@dataclass(eq=False, slots=True)
class Slot:
    """One revision that enters the engine, is in it, or leaves it."""

    revision: Revision
    state: State = State.READY
    engine_id: int = 0
    """0 until the first load begins. It is never used again, whatever becomes of the load."""
    holders: set[Claim] = field(default_factory=set)
    """The leases that are open, and the requests that wait for one."""
    later: set[Claim] = field(default_factory=set)
    """The requests that came while it yields; they wait for its next turn."""
    yielding: bool = False
    """Whether it leaves its device slot as soon as ``holders`` is empty."""
    last_used_s: float = 0.0
    loaded_s: float = 0.0
    """When it last became usable, on the clock of ``residency``."""
    load_took_s: float = 0.0
    """How long that load took."""
    compressed: float | None = None
    """The relative error with which it was compressed to fit, else None."""
    on_device: bool = False
    """Whether it owns one of the device slots in these books."""
    on_host: bool = False
    """Whether it owns one of the host slots in these books."""
    forgotten: bool = False
    """Whether to unload it as soon as no request holds it."""
    failure: Exception | None = None
    """Why ``landed`` was set although the slot is not usable."""
    landed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the wait is over, with success or without."""
    asker: Context = field(default_factory=copy_context)
    """The context of the first request that waits: the load belongs to its trace."""

    @property
    def key(self) -> str:
        """The engine name of the revision."""
        return self.revision.engine_name

    @property
    def usable(self) -> bool:
        """Whether the engine can use the adapter for a request now."""
        return self.state is State.RESIDENT and self.on_device

    @property
    def is_open(self) -> bool:
        """Whether a request that comes now may use the adapter at once."""
        return self.usable and not self.yielding

    @property
    def idle(self) -> bool:
        """Whether it is in the engine and no request holds it."""
        return self.state is State.RESIDENT and not self.holders

    def claim(self) -> Claim:
        """Return a new claim; one that comes while the slot yields waits for the next turn."""
        claim = Claim(self)
        (self.later if self.yielding else self.holders).add(claim)
        return claim

    def drop(self, claim: Claim) -> None:
        """Take back ``claim``."""
        self.holders.discard(claim)
        self.later.discard(claim)

    def begin_yielding(self) -> None:
        """Let those that use it go on, and everybody who comes wait."""
        self.yielding = True
        self.landed.clear()

    def end_yielding(self) -> None:
        """Make those that came meanwhile wait for this slot like everybody else."""
        self.yielding = False
        self.holders |= self.later
        self.later.clear()

    def hand_over(self, heir: "Slot") -> None:
        """Make those that wait for the next turn wait for ``heir``, because this slot is gone."""
        for claim in self.later:
            claim.slot = heir
        heir.holders |= self.later
        self.later.clear()
        self.yielding = False
        self.landed.set()

    def step(self, event: Event) -> None:
        """Go to the state after ``event``; raises IllegalTransition when there is none."""
        self.state = advance(self.state, event)

    def to_resident(self, pinned: Collection[str]) -> Resident:
        """Return what ``eviction`` may know about it."""
        return Resident(
            revision=self.key,
            leases=len(self.holders),
            last_used_s=self.last_used_s,
            pinned=self.key in pinned,
            level="device" if self.on_device else "host",
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """Which slots must leave so that one slot can enter."""

    unload: Slot | None = None
    """This one gives up its host slot, and its device slot if it has one."""
    deactivate: Slot | None = None
    """This one gives up its device slot and keeps its host slot."""

    def commit(self, slot: Slot) -> None:
        """Give the places to ``slot``, which is LOADING afterwards; those that leave are EVICTING.

        The caller removes ``unload`` from the occupants.
        """
        if self.unload is not None:
            self.unload.step(Event.EVICT)
        if self.deactivate is not None:
            self.deactivate.step(Event.EVICT)
            self.deactivate.on_device = False
            self.deactivate.landed.clear()
        slot.step(Event.LOAD)
        slot.on_device = slot.on_host = True

    def revoke(self, slot: Slot) -> None:
        """Take back what ``slot`` got, because a slot that was to leave did not leave."""
        slot.on_device = False
        slot.on_host = slot.engine_id != 0
        if self.deactivate is not None and self.deactivate.state is State.EVICTING:
            # The engine has not begun to deactivate it.
            self.deactivate.step(Event.EVICT_FAILED)
            self.deactivate.on_device = True
            self.deactivate.end_yielding()
            self.deactivate.landed.set()


@dataclass(frozen=True, slots=True)
class Capacity:
    """How many adapters the engine may hold at any instant; those that are being loaded count."""

    device: int
    host: int

    def plan(self, slot: Slot, occupants: Collection[Slot], pinned: Collection[str]) -> Plan | None:
        """Return how ``slot`` can enter now, or None while too many adapters must stay."""
        unload = deactivate = None
        device_short = sum(o.on_device for o in occupants) >= self.device
        if not slot.on_host and sum(o.on_host for o in occupants) >= self.host:
            unload = _victim(occupants, pinned)
            if unload is None:
                return None
            device_short = device_short and not unload.on_device
        if device_short:
            deactivate = _victim((o for o in occupants if o.on_device and o is not unload), pinned)
            if deactivate is None:
                return None
        return Plan(unload, deactivate)


def choose_to_yield(
    occupants: Iterable[Slot], pinned: Collection[str], now_s: float
) -> Slot | None:
    """Return which slot in use is to yield to a waiter, or None when each is still in its turn.

    The one that has had its slot for longest yields first, so that all get their turn.
    """
    used_up = [
        slot
        for slot in occupants
        if slot.usable
        and slot.holders
        and not slot.yielding
        and slot.key not in pinned
        and now_s - slot.loaded_s >= TURN_LOADS * slot.load_took_s
    ]
    return min(used_up, key=lambda slot: (slot.loaded_s, slot.key), default=None)


def _victim(occupants: Iterable[Slot], pinned: Collection[str]) -> Slot | None:
    # The oldest first: when an unload failed and the revision came back, two slots have one key.
    idle = sorted((o for o in occupants if o.idle), key=lambda o: o.last_used_s)
    unwanted = [o for o in idle if not o.later]
    chosen = choose_victim(o.to_resident(pinned) for o in unwanted or idle)
    return next((o for o in idle if o.key == chosen), None)
