"""Moves one adapter into the engine or out of it, and says how that went."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from veneer_adapters.events import (
    Evicted,
    EvictionReason,
    LoadFinished,
    LoadStage,
    Observer,
    Origin,
    Outcome,
    StageFinished,
)
from veneer_adapters.residency.engine import AdapterEngine
from veneer_adapters.residency.slots import Slot
from veneer_adapters.residency.vouchers import Voucher


class Loader:
    """Carries out one move at a time; ``books`` decided that there is room for it."""

    def __init__(
        self,
        engine: AdapterEngine,
        voucher: Voucher,
        observer: Observer,
        clock: Callable[[], float],
        ids: Iterator[int],
    ) -> None:
        """``ids`` yields the engine ids, each of them once."""
        self._engine = engine
        self._voucher = voucher
        self._observer = observer
        self._clock = clock
        self._ids = ids

    async def load(self, slot: Slot) -> None:
        """Bring the adapter of ``slot`` into a device slot; raises whatever the engine raises."""
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

    async def unload(self, slot: Slot, reason: EvictionReason) -> None:
        """Take the adapter of ``slot`` out of the engine; a no-op when it never got there."""
        if slot.engine_id:
            await self._engine.unload_adapter(slot.engine_id)
            self._observer.on_event(Evicted(slot.revision.adapter, "host", reason))

    async def deactivate(self, slot: Slot) -> None:
        """Take the adapter of ``slot`` out of its device slot; it stays in its host slot."""
        await self._engine.deactivate_adapter(slot.engine_id)
        self._observer.on_event(Evicted(slot.revision.adapter, "device", "room"))

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
