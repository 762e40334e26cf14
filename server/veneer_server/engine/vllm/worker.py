"""What the gateway may ask of a worker: which adapters it holds, and how it computes them.

vLLM mixes ``VeneerWorkerExtension`` into its worker; ``collective_rpc`` reaches the methods by
name, between two steps. Only the text of an exception crosses back to the gateway.

Rule: vLLM's LRUs never fire here. A load that finds no free slot is refused, and whoever asked
must unload something first. A step finds its adapters in their slots, so it reads no file.
"""

from typing import Any

from vllm.lora.layers.base_linear import BaseLinearLayerWithLoRA
from vllm.lora.request import LoRARequest

from veneer_adapters.errors import LoadFailed, NoEffect, NoSlotFree
from veneer_server.engine.vllm.lora_cpu import PunicaWrapperVeneer, Ranks


class VeneerWorkerExtension:
    """RPCs added to vLLM's worker. Every name is prefixed, for they share its namespace."""

    model_runner: Any

    def veneer_lora_op(self) -> str:
        """Return the class that applies adapters in this worker, or ``none`` without LoRA."""
        if not hasattr(self.model_runner, "lora_manager"):
            return "none"
        ops = {type(module.punica_wrapper).__name__ for module in self._slots().modules.values()}
        return ",".join(sorted(ops))

    def veneer_lora_kernel(self) -> str:
        """Return what computes adapters in a decode step: ``numba``, ``torch``, or vLLM's op."""
        wrappers = _veneer_wrappers(self._slots())
        return wrappers[0].kernel if wrappers else "vllm"

    def veneer_arrange_slots(self) -> None:
        """Lay every slot out as the op wants it; twice is a no-op.

        Loading does it too. Before the first request it costs nobody a wait.
        """
        for module in self._slots().modules.values():
            if isinstance(module, BaseLinearLayerWithLoRA) and isinstance(
                module.punica_wrapper, PunicaWrapperVeneer
            ):
                module.punica_wrapper.arrange(module.lora_a_stacked, module.lora_b_stacked)

    def veneer_mix_counts(self) -> dict[str, int]:
        """Return the counters of ``lora_cpu.MixCounts``; empty when another op is in use."""
        wrappers = _veneer_wrappers(self._slots())
        return wrappers[0].counts() if wrappers else {}

    def veneer_adaptable_modules(self) -> dict[str, tuple[int, int]]:
        """Return ``(in_features, out_features)`` of every linear module an adapter may touch.

        Names are those of the checkpoint, as PEFT writes them after ``base_model.model.``.
        """
        slots = self._slots()
        found: dict[str, tuple[int, int]] = {}
        for name, module in slots.modules.items():
            if isinstance(module, BaseLinearLayerWithLoRA):
                found |= _unpack(module, slots.packed_modules.get(name, [name]))
        return found

    def veneer_load_adapter(self, engine_id: int, name: str, path: str) -> None:
        """Read an adapter from ``path`` into a host slot and a device slot.

        Afterwards requests may carry it. Loading an adapter that is loaded does nothing.

        Raises:
            NoSlotFree: no host slot or no device slot is free; nothing was read.
            NoEffect: no tensor matches a module of the model.
            LoadFailed: vLLM could not read or place it; no trace of it is left.
        """
        slots = self._slots()
        if slots.get_adapter(engine_id) is None:
            _require_host_slot(slots)
            _require_device_slot(slots)
            self.veneer_arrange_slots()
            try:
                self._register(LoRARequest(name, engine_id, path))
                self.veneer_activate_adapter(engine_id)
            except BaseException:
                slots.remove_adapter(engine_id)
                raise
        else:
            self.veneer_activate_adapter(engine_id)

    def veneer_activate_adapter(self, engine_id: int) -> None:
        """Copy a loaded adapter into a device slot; does nothing when it is in one.

        Raises:
            NoSlotFree: every device slot is taken.
            LoadFailed: the adapter is not loaded, or could not be copied; its slot is free again.
        """
        slots = self._slots()
        if engine_id in slots.lora_index_to_id:
            return
        if slots.get_adapter(engine_id) is None:
            raise LoadFailed(f"adapter {engine_id} is in no host slot")
        _require_device_slot(slots)
        try:
            slots.activate_adapter(engine_id)
        except Exception as error:
            slots.deactivate_adapter(engine_id)
            raise LoadFailed(
                f"the weights of adapter {engine_id} do not fit its slot: {error}"
            ) from error

    def veneer_deactivate_adapter(self, engine_id: int) -> None:
        """Free the device slot; the host copy stays. Twice is a no-op."""
        self._slots().deactivate_adapter(engine_id)

    def veneer_unload_adapter(self, engine_id: int) -> None:
        """Free both slots. Twice is a no-op."""
        self._slots().remove_adapter(engine_id)

    def veneer_adapters(self) -> dict[str, list[int]]:
        """Return the engine ids in ``host`` and in ``device`` slots, each sorted."""
        slots = self._slots()
        device = [i for i in slots.lora_index_to_id if i is not None]
        return {"host": sorted(slots.list_adapters()), "device": sorted(device)}

    def _slots(self) -> Any:
        return self.model_runner.lora_manager._adapter_manager

    def _register(self, request: LoRARequest) -> None:
        slots = self._slots()
        try:
            weights = self.model_runner.lora_manager._load_adapter(request)
            slots.add_adapter(weights)
        except Exception as error:
            raise LoadFailed(f"vLLM could not load {request.lora_name}: {error}") from error
        ranks = _layer_ranks(slots, weights)
        if not any(any(layer) for layer in ranks.values()):
            raise NoEffect(f"no tensor of {request.lora_name} matches a module of the model")
        for wrapper in _veneer_wrappers(slots):
            wrapper.learn_ranks(request.lora_int_id, weights, ranks)


def _require_host_slot(slots: Any) -> None:
    if len(slots) >= slots.capacity:
        raise NoSlotFree(f"all {slots.capacity} host slots are taken")


def _require_device_slot(slots: Any) -> None:
    if None not in slots.lora_index_to_id:
        raise NoSlotFree(f"all {slots.lora_slots} device slots are taken")


def _veneer_wrappers(slots: Any) -> list[PunicaWrapperVeneer]:
    wrappers = slots.punica_wrapper_mapping.values()
    return [wrapper for wrapper in wrappers if isinstance(wrapper, PunicaWrapperVeneer)]


def _layer_ranks(slots: Any, weights: Any) -> dict[int, Ranks]:
    """Return the rank of each slice by ``id`` of the layer's stack of A, as ``learn_ranks`` does.

    Layers whose slices do not map one to one are left out, and so run at full rank.
    """
    ranks: dict[int, Ranks] = {}
    for name, module in slots.modules.items():
        if not isinstance(module, BaseLinearLayerWithLoRA):
            continue
        layer = slots._get_lora_layer_weights(weights, name)
        parts = [None] * module.n_slices if layer is None else layer.lora_a
        parts = parts if isinstance(parts, list) else [parts]
        if len(parts) == module.n_slices:
            ranks[id(module.lora_a_stacked)] = tuple(0 if a is None else a.shape[0] for a in parts)
    return ranks


def _unpack(module: Any, names: list[str]) -> dict[str, tuple[int, int]]:
    base = module.base_layer
    widths = getattr(base, "output_sizes", None) or [base.output_size]
    widths = widths if len(widths) == len(names) else [base.output_size]
    return {name: (base.input_size, width) for name, width in zip(names, widths, strict=True)}
