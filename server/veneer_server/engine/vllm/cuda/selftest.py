"""Runs the worker's own kernels for adapters against the reference, before anything is served.

Thin: ``reference`` decides. One layer of each shape is filled with three random adapters at the
slots' rank, and emptied again. When a result is wrong on CUDA, the kernels are tried once more with
one pipeline stage, which is what vLLM 0.33 uses on Hopper (triton #9433).
"""

from collections.abc import Callable, Iterator
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
NOTHING = Batch("nothing", (0,), is_prefill=False)
"""A step of one row of the base."""


def self_test(slots: Any) -> str | None:
    """Return what the kernels compute wrong, or None; ``slots`` is vLLM's ``LoRAModelManager``.

    No adapter may be loaded, and no step may run meanwhile.
    """
    if getattr(slots.lora_config, "fully_sharded_loras", False):
        return None  # a layer alone has only a part of each product
    fault = find_fault_of(slots)
    if fault is None or not current_platform.is_cuda():
        return fault
    use_one_stage()
    again = find_fault_of(slots)
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


def find_fault_of(slots: Any, *, replayed: bool = False) -> str | None:
    """Return what the kernels that serve now compute wrong, or None.

    ``replayed`` captures a decode step in a CUDA graph while other adapters are mapped, and
    replays it.
    """
    run = _replay if replayed else _run
    try:
        for name, module in one_of_each_shape(slots):
            for batch in batches(min(_ADAPTERS, slots.lora_slots), most_rows(module)):
                if replayed and batch.is_prefill:
                    continue  # vLLM captures no steps that are as long
                fault = _try(slots, module, batch, run)
                if fault is not None:
                    return f"{name}, rank {module.lora_a_stacked[0].shape[2]}, {fault}"
    finally:
        # Whatever vLLM remembers of the last batch is not true any more.
        slots._last_mapping = None
    return None


def one_of_each_shape(slots: Any) -> Iterator[tuple[str, Any]]:
    """Return the first linear layer of each shape, with its name."""
    seen = set()
    for name, module in slots.modules.items():
        if isinstance(module, BaseLinearLayerWithLoRA):
            stacks = (*module.lora_a_stacked, *module.lora_b_stacked)
            shape = tuple(stack.shape for stack in stacks)
            if shape not in seen:
                seen.add(shape)
                yield name, module


def most_rows(module: Any) -> int:
    """Return the most rows of a step."""
    return len(module.punica_wrapper._token_lora_indices)


_Run = Callable[[Any, Any, Batch, torch.Tensor, torch.Tensor], None]


def _run(slots: Any, module: Any, batch: Batch, y: torch.Tensor, x: torch.Tensor) -> None:
    map_batch(slots, module, batch)
    add(module, y, x)


def _replay(slots: Any, module: Any, batch: Batch, y: torch.Tensor, x: torch.Tensor) -> None:
    turned = tuple(reversed(batch.adapters))
    _run(slots, module, Batch("another", turned, batch.is_prefill), y, x)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        add(module, y, x)
    y.zero_()
    map_batch(slots, module, batch)
    graph.replay()
    torch.cuda.synchronize()


def add(module: Any, y: torch.Tensor, x: torch.Tensor) -> None:
    """Add to ``y`` what the layer's adapters make of ``x``, for the batch that is mapped."""
    a, b = module.lora_a_stacked, module.lora_b_stacked
    module.punica_wrapper.add_lora_linear(y, x, a, b, 1.0, module.output_slices)


def _try(slots: Any, module: Any, batch: Batch, run: _Run) -> str | None:
    with torch.inference_mode():
        return _compute(slots, module, batch, run)


def _compute(slots: Any, module: Any, batch: Batch, run: _Run) -> str | None:
    a, b = module.lora_a_stacked, module.lora_b_stacked
    adapters = range(1, max(batch.adapters) + 1)
    chance = torch.Generator().manual_seed(7)
    x = torch.randn(len(batch.adapters), a[0].shape[3], generator=chance).to(a[0])
    try:
        for slot in range(len(adapters)):
            for stack in (*a, *b):
                values = torch.randn(stack[slot].shape, generator=chance)
                stack[slot].copy_(values * stack.shape[3] ** -0.5)
        y = torch.zeros(len(x), sum(stack.shape[2] for stack in b), dtype=x.dtype, device=x.device)
        run(slots, module, batch, y, x)
        downs = {n: [_to_numpy(stack[n - 1, 0]) for stack in a] for n in adapters}
        ups = {n: [_to_numpy(stack[n - 1, 0]) for stack in b] for n in adapters}
        return find_fault(_to_numpy(y), expected(_to_numpy(x), downs, ups, batch), batch)
    finally:
        for stack in (*a, *b):
            stack[: len(adapters)].zero_()
        map_batch(slots, module, NOTHING)


def map_batch(slots: Any, module: Any, batch: Batch) -> None:
    """Tell the kernels which adapter each row has: adapter n is in slot n - 1."""
    prompts = batch.adapters if not batch.is_prefill else tuple(dict.fromkeys(batch.adapters))
    mapping = LoRAMapping(batch.adapters, prompts, is_prefill=batch.is_prefill)
    ids = [slot + 1 for slot in range(slots.lora_slots)]
    module.punica_wrapper.update_metadata(mapping, ids, slots.lora_slots + 1, slots.vocab_size)


def _to_numpy(tensor: torch.Tensor) -> np.ndarray[Any, Any]:
    return tensor.float().cpu().numpy()
