"""Loads in a worker: prepared in threads while the model steps, committed between two steps.

Rule 1: vLLM's LRUs never fire. A load that finds no free slot is refused, and whoever asked
must unload something first. A step finds its adapters in their slots, so it reads no file.
Rule 2: a slot a thread may still write to is nobody's, also when its load was given up.
Rule 3: a failed load leaves nothing behind; the engine never sees it.

``Loads`` keeps the books. What a load does is the placement's: ``CpuPlacement`` writes our
packed weights, ``VllmPlacement`` is vLLM's own loader, for any other platform and layout.
"""

import os
from collections.abc import Collection
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from vllm.lora.lora_model import LoRAModel
from vllm.lora.request import LoRARequest

from veneer_adapters.errors import LoadFailed, NoEffect, NoSlotFree
from veneer_server.engine.vllm.lora.op import PunicaWrapperVeneer
from veneer_server.engine.vllm.lora.pack import Packed, pack
from veneer_server.engine.vllm.lora.slots import SlotWeights

_THREADS = 2
"""Loads prepared at a time; more would only share the disk and the cores."""


class Placement(Protocol):
    """How weights get from files into a slot."""

    def prepare(self, request: LoRARequest, slot: int, host: Any | None) -> Any:
        """Return the host copy, ``host`` when there is one; in a thread, beside the steps."""

    def commit(self, request: LoRARequest, slot: int, host: Any) -> None:
        """Let steps use the adapter; between two steps, so it must be short."""

    def matched(self, host: Any) -> list[str]:
        """Return the modules of the model that ``host`` has weights for."""

    def deactivate(self, engine_id: int) -> None:
        """Free the device slot; between two steps. Twice is a no-op."""

    def unload(self, engine_id: int) -> None:
        """Free the device slot and what vLLM holds on the host. Twice is a no-op."""


class CpuPlacement:
    """Slots in main memory, written by the thread that read the file."""

    def __init__(self, slots: Any, weights: SlotWeights, wrapper: PunicaWrapperVeneer) -> None:
        """Write ``weights``, the slots of vLLM's ``LoRAModelManager`` ``slots``."""
        self._slots = slots
        self._weights = weights
        self._wrapper = wrapper

    def prepare(self, request: LoRARequest, slot: int, host: Packed | None) -> Packed:
        """Read and pack, unless ``host`` has it, and fill the slot."""
        packed = pack(Path(request.lora_path), self._weights.stored) if host is None else host
        self._weights.write(slot, packed)
        return packed

    def commit(self, request: LoRARequest, slot: int, host: Packed) -> None:
        """Map the slot to the adapter. vLLM is told of an adapter without weights."""
        engine_id = request.lora_int_id
        owner = LoRAModel(engine_id, max(len(pair.a) for pair in host.values()), {})
        self._slots._registered_adapters[engine_id] = owner
        self._slots._active_adapters[engine_id] = None
        self._slots.lora_index_to_id[slot] = engine_id
        self._wrapper.learn_ranks(engine_id, owner, self._weights.ranks(host))

    def matched(self, host: Packed) -> list[str]:
        """Return every name, for a slot takes none that the model does not have."""
        return list(host)

    def deactivate(self, engine_id: int) -> None:
        """Unmap the slot; the weights stay in it, unread."""
        self._slots.remove_adapter(engine_id)

    def unload(self, engine_id: int) -> None:
        """Unmap the slot."""
        self._slots.remove_adapter(engine_id)


class VllmPlacement:
    """vLLM's loader, its host cache and its copy into the device."""

    def __init__(self, lora_manager: Any) -> None:
        """Load with vLLM's ``WorkerLoRAManager``."""
        self._worker = lora_manager
        self._slots = lora_manager._adapter_manager

    def prepare(self, request: LoRARequest, slot: int, host: LoRAModel | None) -> LoRAModel:
        """Read, cast, pin and pack. vLLM packs in place, and again without effect later."""
        if host is not None:
            return host
        weights: LoRAModel = self._worker._load_adapter(request)
        self._slots._create_merged_loras_inplace(weights)
        if all(
            self._slots._get_lora_layer_weights(weights, name) is None
            for name in self._slots.modules
        ):
            raise NoEffect("no tensor of the adapter matches a module of the model")
        return weights

    def commit(self, request: LoRARequest, slot: int, host: LoRAModel) -> None:
        """Register and copy into the first free slot, of which ``slot`` is at least one."""
        self._slots.add_adapter(host)
        self._slots.activate_adapter(request.lora_int_id)

    def matched(self, host: LoRAModel) -> list[str]:
        """Return what vLLM would find; it passes over what no module of the model is called."""
        found = []
        for name in self._slots.modules:
            weights = self._slots._get_lora_layer_weights(host, name)
            if weights is not None:
                parts = self._slots.packed_modules.get(name, [name])
                # Packed weights are one A per part, None where the adapter leaves it alone.
                a = weights.lora_a if weights.is_packed else [weights.lora_a]
                found += [part for part, own in zip(parts, a, strict=False) if own is not None]
        return found

    def deactivate(self, engine_id: int) -> None:
        """Free the device slot."""
        self._slots.deactivate_adapter(engine_id)

    def unload(self, engine_id: int) -> None:
        """Free both."""
        self._slots.remove_adapter(engine_id)


@dataclass(frozen=True, slots=True)
class _Pending:
    request: LoRARequest
    slot: int
    future: Future[Any]


class Loads:
    """Which adapters a worker holds, and which are on their way."""

    def __init__(
        self,
        placement: Placement,
        device: list[int | None],
        *,
        host_slots: int,
        cpus: Collection[int] = (),
    ) -> None:
        """Fill ``device``, vLLM's own map from slot to engine id.

        ``cpus`` are those the threads may run on; empty leaves them where this one is bound.
        """
        self._placement = placement
        self._device = device
        self._host_slots = host_slots
        self._host: dict[int, tuple[LoRARequest, Any]] = {}
        self._pending: dict[int, _Pending] = {}
        self._writing: list[tuple[int, Future[Any]]] = []
        self._threads = ThreadPoolExecutor(
            _THREADS, "adapter-load", initializer=_spread, initargs=(cpus,)
        )

    def begin(self, engine_id: int, name: str, path: str) -> None:
        """Start to bring an adapter into a device slot; a no-op when it is in one or under way.

        Raises:
            NoSlotFree: no host slot or no device slot is free; nothing was started.
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
            LoadFailed: nobody began the load, or it was given up.
            Exception: what preparing or committing raised; nothing of the load is left.
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
        """Free the device slot; the host copy stays. Twice is a no-op."""
        self._placement.deactivate(engine_id)

    def unload(self, engine_id: int) -> None:
        """Free both slots, or give up a load under way. Twice is a no-op."""
        pending = self._pending.pop(engine_id, None)
        if pending is not None:
            pending.future.cancel()
        self._host.pop(engine_id, None)
        self._placement.unload(engine_id)

    def matched(self, engine_id: int) -> list[str] | None:
        """Return the modules an adapter has weights for; None when it is in no slot."""
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


def _spread(cpus: Collection[int]) -> None:
    # OpenMP binds the thread that started us to one core, which is the busiest of all.
    if cpus and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cpus)
