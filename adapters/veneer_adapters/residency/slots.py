"""What occupies the slots of the engine, and what must leave before something can enter.

Rule 1: places change owner in these books first. One that is to enter gets the place of one that is
        to leave at one instant, but begins to load only when the other has left the engine. So the
        engine never holds more than it has room for.
Rule 2: this file awaits nothing and calls no engine; ``residency`` carries the plans out.
"""

import asyncio
from collections.abc import Collection, Iterable
from contextvars import Context, copy_context
from dataclasses import dataclass, field

from veneer_adapters.catalog.revision import Revision
from veneer_adapters.lifecycle import Event, State, advance
from veneer_adapters.residency.eviction import Resident, choose_victim


@dataclass(eq=False, slots=True)
class Slot:
    """One revision that enters the engine, is in it, or leaves it."""

    revision: Revision
    state: State = State.READY
    engine_id: int = 0
    """0 until the first load begins. It is never used again, whatever becomes of the load."""
    holds: int = 0
    """How many leases are open, and how many requests wait for one."""
    last_used_s: float = 0.0
    loaded_s: float = 0.0
    """When it last became usable, on the clock of ``residency``."""
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
    def idle(self) -> bool:
        """Whether it is in the engine and no request holds it."""
        return self.state is State.RESIDENT and self.holds == 0

    def step(self, event: Event) -> None:
        """Go to the state after ``event``; raises IllegalTransition when there is none."""
        self.state = advance(self.state, event)

    def to_resident(self, pinned: Collection[str]) -> Resident:
        """Return what ``eviction`` may know about it."""
        return Resident(
            revision=self.key,
            leases=self.holds,
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


def _victim(occupants: Iterable[Slot], pinned: Collection[str]) -> Slot | None:
    # The oldest first: when an unload failed and the revision came back, two slots have one key.
    idle = sorted((o for o in occupants if o.idle), key=lambda o: o.last_used_s)
    chosen = choose_victim(o.to_resident(pinned) for o in idle)
    return next((o for o in idle if o.key == chosen), None)
