"""Which placement fills the slots of a worker: ours where we know their layout, else vLLM's."""

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from vllm.lora.layers.base_linear import BaseLinearLayerWithLoRA

from veneer_server.engine.vllm.lora.layer import LayerStacks
from veneer_server.engine.vllm.lora.op import PunicaWrapperVeneer
from veneer_server.engine.vllm.lora.placements import PackedPlacement, Placement, VllmPlacement
from veneer_server.engine.vllm.lora.slots import SlotWeights
from veneer_server.engine.vllm.lora.spans import Span
from veneer_server.engine.vllm.lora.staging import StagedSlots

STAGED = "Adapters are copied into their slots through one pinned image of a slot."


def choose_placement(
    lora_manager: Any, spans: Mapping[str, Span], enter: Callable[[], None]
) -> tuple[Placement, str]:
    """Return what loads adapters, and a sentence that says so.

    Call it before the first load, in the thread of the steps. ``lora_manager`` is vLLM's
    ``WorkerLoRAManager``; each thread that loads calls ``enter`` before anything else.
    """
    slots = lora_manager._adapter_manager
    wrappers = slots.punica_wrapper_mapping.values()
    if [type(wrapper).__name__ for wrapper in wrappers] != ["PunicaWrapperVeneerGPU"]:
        if (direct := _direct(slots, spans)) is not None:
            return direct, "Adapters are written into their slots."
        return VllmPlacement(lora_manager), _vllms("their layout is not ours")
    try:
        staged = _staged(slots, spans, enter)
    except Exception as error:  # a start must not fail for what vLLM's loader can do as well
        return VllmPlacement(lora_manager), _vllms(f"{type(error).__name__}: {error}")
    lora_manager._load_adapter = _refuse_to_load
    return staged, STAGED


def _vllms(reason: str) -> str:
    return f"vLLM's loader fills the slots of adapters, because {reason}."


def veneer_wrappers(slots: Any) -> list[PunicaWrapperVeneer]:
    """Return our op for CPUs, as often as the model has it."""
    wrappers = slots.punica_wrapper_mapping.values()
    return [wrapper for wrapper in wrappers if isinstance(wrapper, PunicaWrapperVeneer)]


def _direct(slots: Any, spans: Mapping[str, Span]) -> Placement | None:
    """Lay out the slots of a CPU as our op needs them; return what writes them, if all are ours."""
    arranged = _arrange(slots)
    wrappers = veneer_wrappers(slots)
    if len(arranged) != len(slots.modules) or len(wrappers) != 1 or not spans:
        return None
    if any(layer.stored is None for layer in arranged.values()):
        return None
    return PackedPlacement(slots, SlotWeights(arranged, spans), wrappers[0].learn_ranks)


def _arrange(slots: Any) -> dict[str, LayerStacks]:
    """Lay out all layers that our op computes.

    Return those that are whole in this worker, by vLLM's names.
    """
    found = {}
    for name, module in slots.modules.items():
        wrapper = module.punica_wrapper
        if not isinstance(module, BaseLinearLayerWithLoRA):
            continue
        if not isinstance(wrapper, PunicaWrapperVeneer):
            continue
        layer = wrapper.arrange(module.lora_a_stacked, module.lora_b_stacked)
        if module.tp_size == 1:
            found[name] = layer
    return found


def _staged(slots: Any, spans: Mapping[str, Span], enter: Callable[[], None]) -> Placement:
    """Return what writes the slots of a GPU.

    Raises:
        ValueError: we do not know the layout of them all, or copies into them do not arrive.
    """
    whole = {
        id(one)
        for one in slots.modules.values()
        if isinstance(one, BaseLinearLayerWithLoRA) and one.tp_size == 1
    }
    if len(whole) != len(slots.modules) or not spans:
        raise ValueError("not every layer is a linear one that is whole in this worker")
    staged = StagedSlots(slots.modules, spans)
    if fault := staged.find_fault(enter):
        raise ValueError(fault)
    return PackedPlacement(slots, staged)


def _refuse_to_load(request: Any) -> NoReturn:
    # It would fill the first slot without an adapter, and a load may be writing that one.
    raise RuntimeError(f"a step named adapter {request.lora_int_id}, which is in no slot")
