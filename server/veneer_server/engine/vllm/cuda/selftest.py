"""Runs the worker's own kernels for adapters against the reference, before anything is served.

Thin: ``reference`` decides. One layer of each shape is filled with three random adapters at the
slots' rank, and emptied again. When a result is wrong on CUDA, the kernels are tried once more with
one pipeline stage, which is what vLLM 0.33 uses on Hopper (triton #9433).
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from vllm.logger import init_logger
from vllm.lora.layers.base_linear import BaseLinearLayerWithLoRA
from vllm.lora.layers.utils import LoRAMapping
from vllm.platforms import current_platform

from veneer_server.engine.vllm.cuda.reference import Batch, batches, expected, find_fault

logger = init_logger("vllm.veneer.cuda")  # a worker shows only the loggers under "vllm"

_ADAPTERS = 3


def self_test(slots: Any) -> str | None:
    """Return what the kernels compute wrong, or None; ``slots`` is vLLM's ``LoRAModelManager``.

    No adapter may be loaded, and no step may run meanwhile.
    """
    if getattr(slots.lora_config, "fully_sharded_loras", False):
        return None  # a layer alone has only a part of each product
    fault = _find_fault(slots)
    if fault is None or not current_platform.is_cuda():
        return fault
    use_one_stage()
    again = _find_fault(slots)
    if again is None:
        logger.warning("LoRA kernels run with one pipeline stage, because otherwise %s", fault)
    return again


def use_one_stage() -> None:
    """Make vLLM's expand kernel run with one pipeline stage from now on."""
    from vllm.lora.ops.triton_ops import lora_expand_op

    choose = lora_expand_op.get_lora_op_configs

    def with_one_stage(*args: Any, **kwargs: Any) -> dict[str, Any]:
        return {**choose(*args, **kwargs), "num_stages": 1}

    lora_expand_op.get_lora_op_configs = with_one_stage


def _find_fault(slots: Any) -> str | None:
    try:
        for name, module in _one_of_each_shape(slots):
            for batch in batches(min(_ADAPTERS, slots.lora_slots), _most_rows(module)):
                fault = _try(slots, module, batch)
                if fault is not None:
                    return f"{name}, rank {module.lora_a_stacked[0].shape[2]}, {fault}"
    finally:
        # Whatever vLLM remembers of the last batch is not true any more.
        slots._last_mapping = None
    return None


def _one_of_each_shape(slots: Any) -> Iterator[tuple[str, Any]]:
    seen = set()
    for name, module in slots.modules.items():
        if isinstance(module, BaseLinearLayerWithLoRA):
            stacks = (*module.lora_a_stacked, *module.lora_b_stacked)
            shape = tuple(stack.shape for stack in stacks)
            if shape not in seen:
                seen.add(shape)
                yield name, module


def _most_rows(module: Any) -> int:
    return len(module.punica_wrapper._token_lora_indices)


def _try(slots: Any, module: Any, batch: Batch) -> str | None:
    with torch.inference_mode():
        return _compute(slots, module, batch)


def _compute(slots: Any, module: Any, batch: Batch) -> str | None:
    a, b = module.lora_a_stacked, module.lora_b_stacked
    adapters = range(1, max(batch.adapters) + 1)
    chance = torch.Generator().manual_seed(7)
    x = torch.randn(len(batch.adapters), a[0].shape[3], generator=chance).to(a[0])
    try:
        for slot in range(len(adapters)):
            for stack in (*a, *b):
                values = torch.randn(stack[slot].shape, generator=chance)
                stack[slot].copy_(values * stack.shape[3] ** -0.5)
        _map(slots, module, batch)
        y = torch.zeros(len(x), sum(stack.shape[2] for stack in b), dtype=x.dtype, device=x.device)
        module.punica_wrapper.add_lora_linear(y, x, a, b, 1.0, module.output_slices)
        downs = {n: [_to_numpy(stack[n - 1, 0]) for stack in a] for n in adapters}
        ups = {n: [_to_numpy(stack[n - 1, 0]) for stack in b] for n in adapters}
        return find_fault(_to_numpy(y), expected(_to_numpy(x), downs, ups, batch), batch)
    finally:
        for stack in (*a, *b):
            stack[: len(adapters)].zero_()
        _map(slots, module, Batch("nothing", (0,), is_prefill=False))


def _map(slots: Any, module: Any, batch: Batch) -> None:
    """Tell the kernels which adapter each row has: adapter n is in slot n - 1."""
    prompts = batch.adapters if not batch.is_prefill else tuple(dict.fromkeys(batch.adapters))
    mapping = LoRAMapping(batch.adapters, prompts, is_prefill=batch.is_prefill)
    ids = [slot + 1 for slot in range(slots.lora_slots)]
    module.punica_wrapper.update_metadata(mapping, ids, slots.lora_slots + 1, slots.vocab_size)


def _to_numpy(tensor: torch.Tensor) -> np.ndarray[Any, Any]:
    return tensor.float().cpu().numpy()
