"""The test that a GPU's kernels must pass, run on our own kernels for a CPU."""

from types import SimpleNamespace
from typing import Any

import pytest

from support.asked import need

pytestmark = pytest.mark.engine

torch = need("torch")
selftest = need("veneer_server.engine.vllm.cuda.selftest")
lora_cpu = need("veneer_server.engine.vllm.lora.op")

SLOTS, RANK, WIDTH, OUTS = 4, 16, 96, (64, 32)


def rig(dtype: Any, op: Any) -> Any:
    """Return vLLM's ``LoRAModelManager`` as far as the test reads it, with one layer."""
    from vllm.lora.layers.base_linear import BaseLinearLayerWithLoRA

    layer = BaseLinearLayerWithLoRA.__new__(BaseLinearLayerWithLoRA)
    torch.nn.Module.__init__(layer)
    layer.lora_a_stacked = tuple(torch.zeros(SLOTS, 1, RANK, WIDTH, dtype=dtype) for _ in OUTS)
    layer.lora_b_stacked = tuple(torch.zeros(SLOTS, 1, out, RANK, dtype=dtype) for out in OUTS)
    layer.output_slices, layer.punica_wrapper = OUTS, op
    return SimpleNamespace(
        modules={"qkv": layer},
        lora_slots=SLOTS,
        vocab_size=100,
        lora_config=SimpleNamespace(fully_sharded_loras=False),
        _last_mapping="of the last batch",
    )


class Wrong(lora_cpu.PunicaWrapperVeneer):  # type: ignore[misc,name-defined]
    """Leaves NaN in the last row of long batches, as was reported of Hopper."""

    def add_lora_linear(self, y: Any, x: Any, *args: Any, **kwargs: Any) -> None:
        super().add_lora_linear(y, x, *args, **kwargs)
        if len(x) > 600:
            y[-1] = torch.nan


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_our_own_kernels_pass_and_nothing_is_left_of_the_test(dtype: Any) -> None:
    slots = rig(dtype, lora_cpu.PunicaWrapperVeneer(4096, 64, "cpu"))
    assert selftest.self_test(slots) is None
    layer = slots.modules["qkv"]
    assert not any(stack.any() for stack in (*layer.lora_a_stacked, *layer.lora_b_stacked))
    assert slots._last_mapping is None
    assert layer.punica_wrapper.no_lora


def test_a_kernel_that_leaves_nan_is_refused_with_the_layer_and_the_batch() -> None:
    fault = selftest.self_test(rig(torch.bfloat16, Wrong(4096, 64, "cpu")))
    assert fault == "qkv, rank 16, a prompt of 700 tokens: 1 of 700 rows are not finite"


def test_the_expand_kernel_gets_one_stage_and_keeps_the_rest_of_its_configuration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    op = need("vllm.lora.ops.triton_ops.lora_expand_op")
    monkeypatch.setattr(op, "get_lora_op_configs", lambda *_: {"num_stages": 2, "block_n": 64})
    selftest.use_one_stage()
    assert op.get_lora_op_configs("expand") == {"num_stages": 1, "block_n": 64}
