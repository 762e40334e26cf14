"""vLLM's wrapper for CUDA, and as much of its manager as we read, on a machine without a GPU.

Triton's interpreter runs our kernels. vLLM's are stood in for by what they do, computed from the
metadata that they read.
"""

from types import SimpleNamespace
from typing import Any

import pytest

from support.asked import need
from support.interpreting import interpreted_launch

torch = need("torch")
interpreted_launch()
punica_gpu = need("vllm.lora.punica_wrapper.punica_gpu")
ops = need("vllm.lora.ops.triton_ops")

SLOTS, RANK, WIDTH, OUTS, ROWS = 4, 16, 96, (64, 32), 1024


def give_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give vLLM's module what it leaves out on a machine without a GPU."""
    monkeypatch.setattr(punica_gpu, "LoRAKernelMeta", ops.LoRAKernelMeta, raising=False)
    monkeypatch.setattr(punica_gpu, "lora_shrink", shrink, raising=False)
    monkeypatch.setattr(punica_gpu, "lora_expand", expand, raising=False)


def shrink(x: Any, a: Any, y: Any, slots: Any, *meta: Any) -> None:
    """Do what vLLM's kernel does, from the metadata that it reads."""
    y.zero_()
    for row, slot in runs(slots, *meta):
        for i, stack in enumerate(a):
            y[i, row] = x[row].float() @ stack[slot, 0].float().T


def expand(x: Any, b: Any, y: Any, slots: Any, *meta: Any, **_: Any) -> None:
    for row, slot in runs(slots, *meta):
        left = 0
        for i, stack in enumerate(b):
            width = stack.shape[2]
            y[row, left : left + width] += (x[i, row] @ stack[slot, 0].float().T).to(y.dtype)
            left += width


def runs(slots: Any, rows: Any, counts: Any, firsts: Any, ids: Any, flag: Any, *_: Any) -> Any:
    if not flag.item():
        for slot, count, first in zip(
            ids.tolist(), counts.tolist(), firsts.tolist()[:-1], strict=True
        ):
            for row in rows[first : first + count].tolist() if slot >= 0 else ():
                assert int(slots[row]) == slot
                yield row, slot


def config() -> Any:
    return SimpleNamespace(
        max_loras=SLOTS,
        max_lora_rank=RANK,
        specialize_active_lora=False,
        fully_sharded_loras=False,
        lora_dtype=torch.bfloat16,
    )


def wrapper_of(cls: Any) -> Any:
    return cls(ROWS, 64, "cpu", lora_config=config())


def rig(wrapper: Any, dtype: Any = torch.bfloat16) -> Any:
    """Return vLLM's ``LoRAModelManager`` as far as the test reads it, with one layer."""
    from vllm.lora.layers.base_linear import BaseLinearLayerWithLoRA

    layer = BaseLinearLayerWithLoRA.__new__(BaseLinearLayerWithLoRA)
    torch.nn.Module.__init__(layer)
    layer.lora_a_stacked = tuple(torch.zeros(SLOTS, 1, RANK, WIDTH, dtype=dtype) for _ in OUTS)
    layer.lora_b_stacked = tuple(torch.zeros(SLOTS, 1, out, RANK, dtype=dtype) for out in OUTS)
    layer.output_slices, layer.punica_wrapper, layer.tp_size = OUTS, wrapper, 1
    return SimpleNamespace(
        modules={"qkv": layer},
        punica_wrapper_mapping={"language_model": wrapper},
        lora_slots=SLOTS,
        vocab_size=100,
        lora_config=config(),
        _last_mapping="of the last batch",
        _registered_adapters={},
    )
