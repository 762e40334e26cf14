"""Loads in a worker: threads prepare them while the model steps, and a commit between two steps
completes them.

Rule 1: vLLM's LRU caches never evict. A load without a free slot is refused, and the caller must
unload something first. A step finds its adapters in their slots, so it reads no file.
Rule 2: while a thread may still write to a slot, the slot belongs to no adapter, even if the load
was given up.
Rule 3: a failed load leaves nothing behind, and the engine never sees it.

``Loads`` knows which adapters are where, and a placement does the work.
"""

import os
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from vllm.lora.request import LoRARequest

from veneer_adapters.errors import LoadFailed, NoSlotFree
from veneer_server.engine.vllm.lora.placements import Placement

_THREADS = 2
"""Loads that are prepared at the same time; more would only share the disk and the cores."""


@dataclass(frozen=True, slots=True)
class _Pending:
    request: LoRARequest
    slot: int
    future: Future[Any]


class Loads:
    """Knows which adapters a worker holds, and which loads are under way."""

    def __init__(
        self,
        placement: Placement,
        device: Callable[[], list[int | None]],
        *,
        host_slots: int,
        cpus: Collection[int] = (),
        enter: Callable[[], None] = lambda: None,
    ) -> None:
        """Load into what ``device`` returns: vLLM's own map from slot to engine id, as it is now.

        vLLM puts another list in its place when it removes all adapters.

        ``cpus`` are the CPUs on which the threads may run; without any, the threads stay on the
        CPUs of this thread. Each thread calls ``enter`` before anything else.
        """
        self._placement = placement
        self._map = device
        self._host_slots = host_slots
        self._host: dict[int, tuple[LoRARequest, Any]] = {}
        self._pending: dict[int, _Pending] = {}
        self._writing: list[tuple[int, Future[Any]]] = []
        self._threads = ThreadPoolExecutor(
            _THREADS, "adapter-load", initializer=_begin, initargs=(cpus, enter)
        )

    @property
    def _device(self) -> list[int | None]:
        return self._map()

    def begin(self, engine_id: int, name: str, path: str) -> None:
        """Begin to load an adapter into a device slot; do nothing if it is there or under way.

        Raises:
            NoSlotFree: no host slot or no device slot is free; nothing has begun.
        """
        if engine_id in self._device or engine_id in self._pending:
            return
        known = self._host.get(engine_id)
        if known is None and len(self._host.keys() | self._pending.keys()) >= self._host_slots:
            raise NoSlotFree(f"all {self._host_slots} host slots are taken")
        slot = self._choose_slot()
        request, host = known or (LoRARequest(name, engine_id, path), None)
        future = self._threads.submit(self._placement.prepare, request, slot, host)
        self._pending[engine_id] = _Pending(request, slot, future)
        self._writing.append((slot, future))

    def finish(self, engine_id: int) -> bool:
        """Commit a load that is prepared; return whether the adapter is in a device slot now.

        Raises:
            LoadFailed: the load never began, or was given up.
            Exception: the error of preparing or committing; nothing of the load is left.
        """
        if engine_id in self._device:
            return True
        pending = self._pending.get(engine_id)
        if pending is None:
            raise LoadFailed(f"adapter {engine_id} was unloaded while it was being loaded")
        if not pending.future.done():
            return False
        del self._pending[engine_id]
        try:
            host = pending.future.result()
            self._placement.commit(pending.request, pending.slot, host)
        except BaseException:
            self.unload(engine_id)
            raise
        self._host[engine_id] = (pending.request, host)
        return True

    def deactivate(self, engine_id: int) -> None:
        """Free the device slot; the host slot stays filled. A second call does nothing."""
        self._placement.deactivate(engine_id)

    def unload(self, engine_id: int) -> None:
        """Free both slots, or give up a load that is under way. A second call does nothing."""
        pending = self._pending.pop(engine_id, None)
        if pending is not None:
            pending.future.cancel()
        self._host.pop(engine_id, None)
        self._placement.unload(engine_id)

    def matched(self, engine_id: int) -> list[str] | None:
        """Return the modules for which an adapter has weights; None when it is in no slot."""
        known = self._host.get(engine_id)
        return None if known is None else self._placement.matched(known[1])

    def resident(self) -> dict[str, list[int]]:
        """Return the engine ids in ``host`` and in ``device`` slots, each sorted."""
        device = [engine_id for engine_id in self._device if engine_id is not None]
        return {"host": sorted(self._host), "device": sorted(device)}

    def _choose_slot(self) -> int:
        self._writing = [(slot, future) for slot, future in self._writing if not future.done()]
        taken = {slot for slot, _ in self._writing}
        taken |= {pending.slot for pending in self._pending.values()}
        for slot, engine_id in enumerate(self._device):
            if engine_id is None and slot not in taken:
                return slot
        raise NoSlotFree(f"all {len(self._device)} device slots are taken")


def _begin(cpus: Collection[int], enter: Callable[[], None]) -> None:
    enter()
    # OpenMP bound the thread that started this one to one core, and that core is the busiest.
    if cpus and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cpus)
