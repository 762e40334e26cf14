"""The compiled kernel and vLLM's slots: nothing of an earlier adapter, or of padding, is used."""

import os
import subprocess
import sys
from types import MethodType, SimpleNamespace
from typing import Any

import pytest

from support.asked import need

pytestmark = pytest.mark.engine

torch = need("torch")
lora_cpu = need("veneer_server.engine.vllm.lora.op")
need("numba")

KERNEL_MODULE = "veneer_server.engine.vllm.lora.kernel"
ROUTES = ("numba", "torch")
IN, OUT, MAX_RANK, SLOTS = 48, 40, 16, 3


def vllm_layer(dtype: Any) -> Any:
    """Return what vLLM's linear layer fills slots with: its own methods over our two stacks."""
    from vllm.lora.layers.base_linear import BaseLinearLayerWithLoRA

    layer = SimpleNamespace(
        n_slices=1,
        tp_size=1,
        lora_a_stacked=(torch.zeros(SLOTS, 1, MAX_RANK, IN, dtype=dtype),),
        lora_b_stacked=(torch.zeros(SLOTS, 1, OUT, MAX_RANK, dtype=dtype),),
    )
    layer.reset_lora = MethodType(BaseLinearLayerWithLoRA.reset_lora, layer)
    layer.set_lora = MethodType(BaseLinearLayerWithLoRA.set_lora, layer)
    return layer


def an_adapter(rank: int, dtype: Any) -> tuple[Any, Any]:
    return torch.randn(rank, IN).to(dtype), torch.randn(OUT, rank).to(dtype)


def kept_in(layer: Any) -> Any:
    return layer.lora_a_stacked[0].dtype


def an_op(kernel: str) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        if kernel == "torch":
            patch.setitem(sys.modules, KERNEL_MODULE, None)
        return lora_cpu.PunicaWrapperVeneer(64, 64, "cpu")


def tell(op: Any, slot_of_row: list[int], ids: list[int | None]) -> None:
    rows = tuple(ids[slot] for slot in slot_of_row)
    mapping = SimpleNamespace(index_mapping=rows, prompt_mapping=rows, is_prefill=False)
    op.update_metadata(mapping, ids, SLOTS + 1, 100)


def delta(op: Any, layer: Any, x: Any) -> Any:
    y = torch.zeros(len(x), OUT, dtype=x.dtype)
    op.add_lora_linear(y, x, layer.lora_a_stacked, layer.lora_b_stacked, 1.0, (OUT,))
    return y


def expected(adapter: tuple[Any, Any], x: Any) -> Any:
    a, b = adapter
    return x.double() @ a.double().t() @ b.double().t()


def assert_is(got: Any, want: Any) -> None:
    tolerance = 1e-4 if got.dtype == torch.float32 else 2e-2
    assert float((got.double() - want).abs().max()) <= tolerance * float(want.abs().max())


DTYPES = [
    (torch.float32, torch.float32),
    (torch.bfloat16, torch.bfloat16),
    (torch.float32, torch.bfloat16),
]
"""Of the rows and of the weights of adapters."""


@pytest.fixture(params=[(route, *dtypes) for route in ROUTES for dtypes in DTYPES])
def served(request: pytest.FixtureRequest) -> tuple[Any, Any, Any]:
    """An op that has served one adapter of rank 16 from slot 1; its layer; two rows."""
    kernel, rows, weights = request.param
    op, layer, x = an_op(kernel), vllm_layer(weights), torch.randn(2, IN).to(rows)
    layer.set_lora(1, *an_adapter(16, weights))
    tell(op, [1, 1], [None, 7, None])
    delta(op, layer, x)
    return op, layer, x


@pytest.mark.parametrize("rank", [3, 16])
@pytest.mark.parametrize("told_of_slots", [True, False])
def test_an_adapter_loaded_into_a_used_slot_is_the_one_that_answers(
    served: Any, rank: int, told_of_slots: bool
) -> None:
    op, layer, x = served
    newcomer = an_adapter(rank, kept_in(layer))

    layer.reset_lora(1)
    layer.set_lora(1, *newcomer)
    if told_of_slots:
        tell(op, [1, 1], [None, 8, None])

    assert_is(delta(op, layer, x), expected(newcomer, x))


def test_the_same_adapter_id_with_new_weights_answers_with_the_new_weights(served: Any) -> None:
    op, layer, x = served
    again = an_adapter(16, kept_in(layer))

    layer.set_lora(1, *again)
    tell(op, [1, 1], [None, 7, None])

    assert_is(delta(op, layer, x), expected(again, x))


def test_an_emptied_slot_adds_nothing(served: Any) -> None:
    op, layer, x = served

    layer.reset_lora(1)

    assert bool((delta(op, layer, x) == 0).all())


def test_an_adapter_that_moved_to_another_slot_is_found_there(served: Any) -> None:
    op, layer, x = served
    moved, other = an_adapter(4, kept_in(layer)), an_adapter(8, kept_in(layer))

    layer.set_lora(2, *moved)
    layer.set_lora(1, *other)
    tell(op, [2, 1], [None, 9, 7])

    got = delta(op, layer, x)
    assert_is(got[:1], expected(moved, x[:1]))
    assert_is(got[1:], expected(other, x[1:]))


def test_stacks_that_got_another_storage_are_read_there(served: Any) -> None:
    op, layer, x = served
    moved = an_adapter(16, kept_in(layer))
    for stack in (*layer.lora_a_stacked, *layer.lora_b_stacked):
        stack.data = torch.zeros_like(stack)

    layer.set_lora(1, *moved)

    assert_is(delta(op, layer, x), expected(moved, x))


def test_ranks_belong_to_the_adapter_and_not_to_its_slot(served: Any) -> None:
    op, layer, x = served
    owner, newcomer = (lambda: None), an_adapter(12, kept_in(layer))
    op.learn_ranks(7, owner, {id(layer.lora_a_stacked): (2,)})
    delta(op, layer, x)

    layer.set_lora(1, *newcomer)
    tell(op, [1, 1], [None, 8, None])

    assert_is(delta(op, layer, x), expected(newcomer, x))


def test_a_higher_rank_is_computed_after_a_lower_one_of_the_same_adapter(served: Any) -> None:
    op, layer, x = served
    owners = (lambda: None), (lambda: None)  # stand for vLLM's host copies
    layer_id = id(layer.lora_a_stacked)
    low, high = an_adapter(2, kept_in(layer)), an_adapter(12, kept_in(layer))

    op.learn_ranks(7, owners[0], {layer_id: (2,)})
    layer.set_lora(1, *low)
    tell(op, [1, 1], [3, 7, None])
    assert_is(delta(op, layer, x), expected(low, x))
    op.learn_ranks(7, owners[1], {layer_id: (12,)})
    layer.set_lora(1, *high)

    assert_is(delta(op, layer, x), expected(high, x))


def test_a_rank_is_forgotten_the_moment_its_owner_is_gone(served: Any) -> None:
    op, layer, x = served
    owner, newcomer = (lambda: None), an_adapter(12, kept_in(layer))
    op.learn_ranks(7, owner, {id(layer.lora_a_stacked): (2,)})
    delta(op, layer, x)

    del owner
    layer.set_lora(1, *newcomer)

    assert_is(delta(op, layer, x), expected(newcomer, x))


def test_a_layer_that_missed_several_changes_sees_them_all(served: Any) -> None:
    op, layer, x = served
    owners = [(lambda: None) for _ in range(3)]
    adapters = {
        9: an_adapter(12, kept_in(layer)),
        7: an_adapter(4, kept_in(layer)),
        8: an_adapter(8, kept_in(layer)),
    }
    delta(op, layer, x)
    for slot, (engine_id, adapter) in enumerate(adapters.items()):
        layer.set_lora(slot, *adapter)
        op.learn_ranks(engine_id, owners[slot], {id(layer.lora_a_stacked): (len(adapter[0]),)})
        tell(op, [slot, slot], [*list(adapters)[: slot + 1], *[None] * (2 - slot)])
        op._slot_ranks.refresh()
    tell(op, [0, 2], list(adapters))

    got = delta(op, layer, x)

    assert_is(got[:1], expected(adapters[9], x[:1]))
    assert_is(got[1:], expected(adapters[8], x[1:]))


@pytest.mark.parametrize(("rows", "weights"), DTYPES)
def test_the_kernel_itself_computes_rows_in_float32_of_adapters_in_bfloat16(
    rows: Any, weights: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(lora_cpu, "add_products")  # the other route
    op, layer, x = an_op("numba"), vllm_layer(weights), torch.randn(9, IN).to(rows)
    adapter = an_adapter(16, weights)
    layer.set_lora(1, *adapter)
    tell(op, [1] * 9, [None, 7, None])

    assert_is(delta(op, layer, x), expected(adapter, x))


def test_laying_out_by_rank_keeps_shape_values_and_the_tensor_itself() -> None:
    from veneer_server.engine.vllm.lora.layer import lay_out_by_rank

    stack = torch.randn(SLOTS, 1, OUT, MAX_RANK)
    before = stack.clone()
    with torch.inference_mode():
        lay_out_by_rank(stack)
    address = stack.data_ptr()
    lay_out_by_rank(stack)

    assert torch.equal(stack, before)
    assert stack.transpose(2, 3).is_contiguous()
    assert stack.data_ptr() == address
    assert not stack.is_inference()


def test_a_batch_of_fewer_rows_than_were_grouped_is_refused(served: Any) -> None:
    op, layer, x = served
    tell(op, [1, 1, 1], [None, 7, None])

    with pytest.raises(IndexError):
        delta(op, layer, x)


def test_rows_that_are_not_contiguous_are_computed_all_the_same(served: Any) -> None:
    op, layer, x = served
    adapter = an_adapter(16, kept_in(layer))
    layer.set_lora(1, *adapter)

    assert_is(delta(op, layer, x.repeat(1, 2)[:, :IN]), expected(adapter, x))


def test_bfloat16_is_rounded_to_nearest_even_and_keeps_what_is_not_a_number() -> None:
    op, layer = an_op("numba"), vllm_layer(torch.bfloat16)
    one = torch.zeros(1, IN, dtype=torch.bfloat16)
    one[0, 0] = 1.0
    values = torch.randn(OUT) * 10.0 ** torch.randint(-30, 30, (OUT,))
    values[:4] = torch.tensor([torch.inf, -torch.inf, torch.nan, 3.3e38])
    weight = values.bfloat16()
    weight.view(torch.int16)[4:6] = torch.tensor([0x7FFF, -1])  # NaNs of every bit
    layer.set_lora(0, one, weight.view(OUT, 1))
    tell(op, [0], [1, None, None])
    op.learn_ranks(1, op, {id(layer.lora_a_stacked): (1,)})
    y = torch.randn(1, OUT).bfloat16()
    want = (y.float() + weight.float()).bfloat16()

    op.add_lora_linear(y, one, layer.lora_a_stacked, layer.lora_b_stacked, 1.0, (OUT,))

    assert torch.equal(y.isnan(), want.isnan())
    assert torch.equal(y.nan_to_num(), want.nan_to_num())


def test_the_gateway_side_of_the_engine_does_not_import_numba() -> None:
    code = "import sys, veneer_server.engine.vllm.inside.plugin; sys.exit('numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], timeout=60, check=False)

    assert done.returncode == 0


def test_without_a_folder_for_compiled_code_the_kernel_compiles_at_every_start() -> None:
    code = "import veneer_server.engine.vllm.lora.kernel"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"HOME": "/proc/none"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, "compiled at every start" in done.stderr) == (0, True)
