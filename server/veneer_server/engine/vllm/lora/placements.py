"""How the weights of an adapter come into a slot: packed by us, or by vLLM's own loader.

``PackedPlacement`` writes slots whose layout we know: those of a CPU (``slots.SlotWeights``), and
those of a GPU (``staging.StagedSlots``). ``VllmPlacement`` is for everything else.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from vllm.lora.lora_model import LoRAModel
from vllm.lora.request import LoRARequest

from veneer_adapters.errors import NoEffect
from veneer_server.engine.vllm.lora.layer import Ranks
from veneer_server.engine.vllm.lora.pack import Packed, pack


class Placement(Protocol):
    """Moves weights from files into a slot."""

    def prepare(self, request: LoRARequest, slot: int, host: Any | None) -> Any:
        """Return the copy for the host slot: ``host``, or a new one when that is None.

        This runs in a thread, beside the steps.
        """

    def commit(self, request: LoRARequest, slot: int, host: Any) -> None:
        """Let steps use the adapter. This runs between two steps, so it must be short."""

    def matched(self, host: Any) -> list[str]:
        """Return the modules of the model for which ``host`` has weights."""

    def deactivate(self, engine_id: int) -> None:
        """Free the device slot, between two steps. A second call does nothing."""

    def unload(self, engine_id: int) -> None:
        """Free the device slot and vLLM's own host copy. A second call does nothing."""


class Weights(Protocol):
    """Device slots that any thread may write, as long as no adapter is mapped to them."""

    stored: np.dtype[Any]
    """The dtype that ``pack`` must produce."""
    by_output: bool
    """The order of B that is written fastest; see ``pack``."""

    def write(self, slot: int, packed: Packed) -> None:
        """Fill ``slot``; when this returns, a step may read it."""

    def ranks(self, packed: Packed) -> dict[int, Ranks]:
        """Return the rank of each slice by layer."""


Learn = Callable[[int, LoRAModel, Mapping[int, Ranks]], None]
"""What is told each adapter's ranks: its engine id, the object that owns them, and the ranks."""


class PackedPlacement:
    """The thread that read the file writes the slot, so a commit only maps it."""

    def __init__(self, slots: Any, weights: Weights, learn: Learn = lambda *_: None) -> None:
        """Write to ``weights``: the slots of ``slots``, which is vLLM's ``LoRAModelManager``."""
        self._slots = slots
        self._weights = weights
        self._learn = learn

    def prepare(self, request: LoRARequest, slot: int, host: Packed | None) -> Packed:
        """Read and pack the files, unless ``host`` is given, and fill the slot."""
        to = self._weights
        folder = Path(request.lora_path)
        packed = pack(folder, to.stored, by_output=to.by_output) if host is None else host
        to.write(slot, packed)
        return packed

    def commit(self, request: LoRARequest, slot: int, host: Packed) -> None:
        """Map the slot to the adapter. vLLM gets to know an adapter without weights."""
        engine_id = request.lora_int_id
        owner = LoRAModel(engine_id, max(len(pair.a) for pair in host.values()), {})
        self._slots._registered_adapters[engine_id] = owner
        self._slots._active_adapters[engine_id] = None
        self._slots.lora_index_to_id[slot] = engine_id
        self._learn(engine_id, owner, self._weights.ranks(host))

    def matched(self, host: Packed) -> list[str]:
        """Return every name, because a slot takes only modules that the model has."""
        return list(host)

    def deactivate(self, engine_id: int) -> None:
        """Unmap the slot; the weights stay in it, but nothing reads them."""
        self._slots.remove_adapter(engine_id)

    def unload(self, engine_id: int) -> None:
        """Unmap the slot."""
        self._slots.remove_adapter(engine_id)


class VllmPlacement:
    """Uses vLLM's own loader, its host cache and its copy to the device."""

    def __init__(self, lora_manager: Any) -> None:
        """Load with vLLM's ``WorkerLoRAManager``."""
        self._worker = lora_manager
        self._slots = lora_manager._adapter_manager

    def prepare(self, request: LoRARequest, slot: int, host: LoRAModel | None) -> LoRAModel:
        """Read, cast, pin and pack the weights.

        vLLM packs them in place. It does so again at the commit, and then nothing changes.
        """
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
        """Register the adapter and copy it into the first free slot; ``slot`` only reserves one."""
        self._slots.add_adapter(host)
        self._slots.activate_adapter(request.lora_int_id)

    def matched(self, host: LoRAModel) -> list[str]:
        """Return the modules for which vLLM finds weights; it ignores weights of other modules."""
        found = []
        for name in self._slots.modules:
            weights = self._slots._get_lora_layer_weights(host, name)
            if weights is not None:
                parts = self._slots.packed_modules.get(name, [name])
                # Packed weights have one A per part, None where the adapter does not change it.
                a = weights.lora_a if weights.is_packed else [weights.lora_a]
                found += [part for part, own in zip(parts, a, strict=False) if own is not None]
        return found

    def deactivate(self, engine_id: int) -> None:
        """Free the device slot."""
        self._slots.deactivate_adapter(engine_id)

    def unload(self, engine_id: int) -> None:
        """Free the device slot and vLLM's host copy."""
        self._slots.remove_adapter(engine_id)
