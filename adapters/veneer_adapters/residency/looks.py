"""What others may know of the slots at one instant."""

from collections.abc import Collection, Iterable

from veneer_adapters.catalog.revision import Revision
from veneer_adapters.lifecycle import State
from veneer_adapters.residency.eviction import Resident
from veneer_adapters.residency.slots import Slot


def residents(slots: Iterable[Slot], pinned: Collection[str]) -> list[Resident]:
    """Return what is in the engine's slots, by engine name."""
    settled = [slot for slot in slots if slot.state is State.RESIDENT]
    return sorted((s.to_resident(pinned) for s in settled), key=lambda r: r.revision)


def suspects(slots: Iterable[Slot], since_s: float) -> list[Revision]:
    """Return what may have brought the engine down.

    That is what it loads or proves at this instant, and what a request uses that entered the
    engine after ``since_s``.
    """
    return [
        slot.revision
        for slot in slots
        if slot.state is State.LOADING or (slot.usable and slot.holders and slot.loaded_s > since_s)
    ]


def survivors(slots: Iterable[Slot], since_s: float) -> list[Revision]:
    """Return what entered the engine at ``since_s`` or earlier, and was used there."""
    return [
        slot.revision
        for slot in slots
        if slot.usable
        and slot.loaded_s <= since_s
        and (slot.holders or slot.last_used_s > slot.loaded_s)
    ]


def waiting(slots: Iterable[Slot]) -> list[str]:
    """Return, by engine name, the revisions that requests wait for."""
    return sorted(s.key for s in slots if s.later or (s.holders and not s.usable))
