"""What occupies the engine's slots, and who must leave before somebody can enter.

Rule 1: a slot changes hands on paper first. Whoever is to enter takes the place of whoever
        is to leave at one instant, and begins to load only when the other is really gone, so
        the engine never holds more than it has room for.
Rule 2: this file awaits nothing and calls nobody; ``residency`` carries the plans out.
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
    """One revision on its way into the engine, in it, or on its way out."""

    revision: Revision
    state: State = State.READY
    engine_id: int = 0
    """0 until the first load begins; never given again, whatever becomes of the load."""
    holds: int = 0
    """Open leases, and requests that wait to get one."""
    last_used_s: float = 0.0
    on_device: bool = False
    """Whether it holds one of the device places, on paper."""
    on_host: bool = False
    """Whether it holds one of the host places, on paper."""
    forgotten: bool = False
    """Unloaded as soon as nobody holds it."""
    failure: Exception | None = None
    """Why ``landed`` was set without the slot being usable."""
    landed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when waiting is over, for good or bad."""
    asker: Context = field(default_factory=copy_context)
    """The context of the request that waited first: a load belongs to its trace."""

    @property
    def key(self) -> str:
        """The engine name of the revision."""
        return self.revision.engine_name

    @property
    def usable(self) -> bool:
        """Whether a request may be given to the engine now."""
        return self.state is State.RESIDENT and self.on_device

    @property
    def idle(self) -> bool:
        """Whether it is in the engine and nobody holds it."""
        return self.state is State.RESIDENT and self.holds == 0

    def step(self, event: Event) -> None:
        """Go on to the state after ``event``; IllegalTransition when there is none."""
        self.state = advance(self.state, event)

    def to_resident(self, pinned: Collection[str]) -> Resident:
        """Return what the policy may know."""
        return Resident(
            revision=self.key,
            leases=self.holds,
            last_used_s=self.last_used_s,
            pinned=self.key in pinned,
            level="device" if self.on_device else "host",
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """Who leaves so that one slot can enter."""

    unload: Slot | None = None
    """Gives up its host place, and its device place if it has one."""
    deactivate: Slot | None = None
    """Gives up its device place and keeps its host copy."""

    def commit(self, slot: Slot) -> None:
        """Hand the places over: ``slot`` is LOADING, and who unloads is no occupant any more."""
        if self.unload is not None:
            self.unload.step(Event.EVICT)
        if self.deactivate is not None:
            self.deactivate.step(Event.EVICT)
            self.deactivate.on_device = False
            self.deactivate.landed.clear()
        slot.step(Event.LOAD)
        slot.on_device = slot.on_host = True

    def revoke(self, slot: Slot) -> None:
        """Take back what ``slot`` was given, because somebody who was to leave did not."""
        slot.on_device = False
        slot.on_host = slot.engine_id != 0
        if self.deactivate is not None and self.deactivate.state is State.EVICTING:
            # It had not begun to leave.
            self.deactivate.step(Event.EVICT_FAILED)
            self.deactivate.on_device = True
            self.deactivate.landed.set()


@dataclass(frozen=True, slots=True)
class Capacity:
    """How many adapters the engine may hold at any instant, those being loaded included."""

    device: int
    host: int

    def plan(self, slot: Slot, occupants: Collection[Slot], pinned: Collection[str]) -> Plan | None:
        """Return how ``slot`` can enter now, or None while too many must stay."""
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
    # The oldest first: two slots have one key when an unload failed and the revision returned.
    idle = sorted((o for o in occupants if o.idle), key=lambda o: o.last_used_s)
    chosen = choose_victim(o.to_resident(pinned) for o in idle)
    return next((o for o in idle if o.key == chosen), None)
