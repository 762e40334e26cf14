"""Our wrapper for CUDA in place of vLLM's: the same batches, the same rows, the same answers.

vLLM's own wrapper is real, and so is the test that a worker runs on a card; Triton's interpreter
stands in for the card.
"""

from typing import Any

import pytest

from support.asked import need

pytestmark = pytest.mark.engine

torch = need("torch")
need("triton")
op = need("veneer_server.engine.vllm.cuda.op")
selftest = need("veneer_server.engine.vllm.cuda.selftest")

from support.cuda_lora import (  # noqa: E402
    OUTS,
    RANK,
    SLOTS,
    WIDTH,
    give_triton,
    punica_gpu,
    rig,
    wrapper_of,
)
from veneer_server.engine.vllm.cuda.op import Served  # noqa: E402

OURS = Served(small=True, large=True)


@pytest.fixture(autouse=True)
def _triton_there(monkeypatch: pytest.MonkeyPatch) -> None:
    give_triton(monkeypatch)


@pytest.fixture
def ours() -> Any:
    wrapper = wrapper_of(op.PunicaWrapperVeneerGPU)
    wrapper.serve(OURS)
    return wrapper


def test_vllms_own_wrapper_passes_the_test_of_a_start() -> None:
    assert selftest.self_test(rig(wrapper_of(punica_gpu.PunicaWrapperGPU))) is None


@pytest.mark.parametrize(
    "served", [Served(), OURS, Served(small=True), Served(large=True)], ids=str
)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_our_wrapper_passes_the_test_of_a_start_with_any_kernels(dtype: Any, served: Any) -> None:
    wrapper = wrapper_of(op.PunicaWrapperVeneerGPU)
    wrapper.serve(served)
    assert selftest.self_test(rig(wrapper, dtype)) is None
    assert wrapper.no_lora


def test_a_new_wrapper_runs_vllms_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(op, "launches", None)
    assert selftest.self_test(rig(wrapper_of(op.PunicaWrapperVeneerGPU))) is None


def test_ours_run_where_they_serve(ours: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(punica_gpu, "lora_shrink", None)
    assert selftest.self_test(rig(ours)) is None


def mapped(slots: Any, adapters: tuple[int, ...]) -> Any:
    module = slots.modules["qkv"]
    selftest.map_batch(slots, module, selftest.Batch("one", adapters, is_prefill=False))
    return module


def test_a_layer_that_our_kernels_do_not_know_is_left_to_vllms(
    ours: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(op, "launches", None)
    slots = rig(ours)
    layer = slots.modules["qkv"]
    layer.lora_a_stacked = tuple(torch.ones(SLOTS, 1, RANK, 20, dtype=torch.bfloat16) for _ in OUTS)
    layer.lora_b_stacked = tuple(torch.ones_like(stack) for stack in layer.lora_b_stacked)
    y, x = torch.zeros(2, 96, dtype=torch.bfloat16), torch.ones(2, 20, dtype=torch.bfloat16)
    selftest.add(mapped(slots, (0, 2)), y, x)
    assert y[:, 0].tolist() == [0, 320]


def test_true_ranks_are_asked_for_and_narrow_what_is_read(ours: Any) -> None:
    slots = rig(ours)
    ours.serve(OURS, {2: 8}.get)
    layer = mapped(slots, (1, 2))
    for stack in layer.lora_b_stacked:
        stack.fill_(1)
    for stack in layer.lora_a_stacked:
        stack.fill_(1)
        stack[1, 0, 8:] = torch.nan
    y = torch.zeros(2, 96, dtype=torch.bfloat16)
    selftest.add(layer, y, torch.ones(2, WIDTH, dtype=torch.bfloat16))
    assert y[:, 0].tolist() == [16 * WIDTH, 8 * WIDTH]


def test_a_step_of_the_base_launches_nothing(ours: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(op, "launches", None)
    y = torch.full((3, 96), 0.5)
    selftest.add(mapped(rig(ours), (0, 0, 0)), y, torch.ones(3, WIDTH))
    assert bool((y == 0.5).all())


@pytest.mark.parametrize("v2", [True, False])
def test_a_compiled_model_calls_the_op_in_place_and_takes_the_kernels_of_the_moment(
    ours: Any, v2: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch._inductor.utils as inductor

    torch._dynamo.reset()
    slots = rig(ours, torch.float16)
    layer = mapped(slots, (0, 1, 2))
    for stack in (*layer.lora_a_stacked, *layer.lora_b_stacked):
        stack.fill_(0.125)

    def model(x: Any, weight: Any) -> Any:
        y = torch.nn.functional.linear(x, weight)
        selftest.add(layer, y, x)
        return y * 2

    x, weight = (
        torch.ones(3, WIDTH, dtype=torch.float16),
        torch.ones(96, WIDTH, dtype=torch.float16),
    )
    compiled = torch.compile(model, fullgraph=True)
    with torch._inductor.config.patch(enable_auto_functionalized_v2=v2):
        got, code = inductor.run_and_get_code(compiled, x, weight)
    assert torch.equal(got, model(x, weight))
    text = "\n".join(code)
    assert "veneer.lora_linear" in text
    assert ".clone(" not in text
    ours.serve(Served())
    monkeypatch.setattr(op, "launches", None)
    assert torch.equal(compiled(x, weight), got)
    mapped(slots, (0, 0, 0))
    assert torch.equal(compiled(x, weight), 2 * x @ weight.T)
