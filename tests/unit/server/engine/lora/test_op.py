"""The LoRA op against a float64 reference, with fresh random inputs each time."""

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.asked import need

pytestmark = pytest.mark.engine

torch = need("torch")
lora_cpu = need("veneer_server.engine.vllm.lora.op")
lora_rows = need("veneer_server.engine.vllm.lora.rows")
KERNEL_MODULE = "veneer_server.engine.vllm.lora.kernel"
ROUTES = ("numba", "torch")

WIDTH = 40
VOCABULARY = 100
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
# Relative to the largest value: room for rounding the delta and the sum once each.
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}


@dataclass
class Layer:
    """One layer's stacks, and the same weights per slot without padding, in float64."""

    a: tuple[Any, ...]
    b: tuple[Any, ...]
    widths: tuple[int, ...]

    def reference(self, y: Any, x: Any, slot: int) -> Any:
        """Return one row of ``y`` with the adapter of ``slot`` applied, in float64."""
        if slot < 0:
            return y.double()
        deltas = [
            b[slot, 0].double() @ (a[slot, 0].double() @ x.double())
            for a, b in zip(self.a, self.b, strict=True)
        ]
        return y.double() + torch.cat(deltas)


def build_layer(
    slots: int,
    ranks: dict[int, tuple[int, ...]],
    max_rank: int,
    widths: tuple[int, ...],
    dtype: Any,
) -> Layer:
    """Return a layer whose slot ``i`` has rank ``ranks[i]`` in each slice, zero beyond it."""
    a = tuple(torch.zeros(slots, 1, max_rank, WIDTH, dtype=dtype) for _ in widths)
    b = tuple(torch.zeros(slots, 1, width, max_rank, dtype=dtype) for width in widths)
    for slot, slice_ranks in ranks.items():
        for i, rank in enumerate(slice_ranks):
            a[i][slot, 0, :rank] = torch.randn(rank, WIDTH) / math.sqrt(WIDTH)
            b[i][slot, 0, :, :rank] = torch.randn(widths[i], rank) / math.sqrt(max(rank, 1))
    return Layer(a, b, widths)


def wrapper_for(
    slot_of_row: list[int],
    slots: int,
    *,
    sampled: list[int] | None = None,
    kernel: str = "numba",
) -> Any:
    """Return an op that was told which slot each row uses; slot ``i`` holds adapter ``i + 1``."""
    with pytest.MonkeyPatch.context() as patch:
        if kernel == "torch":
            patch.setitem(sys.modules, KERNEL_MODULE, None)
        op = lora_cpu.PunicaWrapperVeneer(4096, 64, "cpu")
    assert op.kernel == kernel
    tell(op, slot_of_row, slots, sampled=sampled)
    return op


def tell(op: Any, slot_of_row: list[int], slots: int, *, sampled: list[int] | None = None) -> None:
    mapping = SimpleNamespace(
        index_mapping=tuple(slot + 1 for slot in slot_of_row),
        prompt_mapping=tuple(slot + 1 for slot in (sampled or slot_of_row)),
        is_prefill=True,
    )
    op.update_metadata(mapping, [i + 1 for i in range(slots)], slots + 1, VOCABULARY)


def apply_linear(op: Any, layer: Layer, y: Any, x: Any) -> None:
    op.add_lora_linear(y, x, layer.a, layer.b, 1.0, layer.widths)


def assert_close(got: Any, want: Any, dtype: Any) -> None:
    scale = max(float(want.abs().max()), 1.0)
    assert float((got.double() - want).abs().max()) <= TOLERANCE[dtype] * scale


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Owner:
    """Stands for vLLM's object that holds an adapter's host copy."""


@st.composite
def batches(draw: st.DrawFn) -> list[int]:
    """Return slot of each row: some requests, each of one (decode) or several (prefill) rows."""
    adapters = draw(st.integers(0, 32))
    slots = draw(st.lists(st.integers(0, 31), min_size=adapters, max_size=adapters, unique=True))
    longest = draw(st.sampled_from([1, 9, 250]))
    rows: list[int] = []
    for slot in draw(st.lists(st.sampled_from([-1, *slots]), min_size=1, max_size=40)):
        if len(rows) < 1000:
            rows += [slot] * draw(st.integers(1, longest))
    return rows


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(
    rows=batches(),
    rank=st.integers(1, 64),
    max_rank=st.sampled_from([64, 128]),
    widths=st.sampled_from([(24,), (24, 8, 8), (32, 32), (8, 24, 8, 8)]),
    dtype=st.sampled_from(DTYPES),
    learned=st.booleans(),
    kernel=st.sampled_from(ROUTES),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_row_gets_exactly_its_own_adapter_or_none(
    rows: list[int],
    rank: int,
    max_rank: int,
    widths: tuple[int, ...],
    dtype: Any,
    learned: bool,
    kernel: str,
    seed: int,
) -> None:
    torch.manual_seed(seed)
    ranks = {slot: (1 + (rank + slot) % 64,) * len(widths) for slot in set(rows) - {-1}}
    layer = build_layer(32, ranks, max_rank, widths, dtype)
    x = torch.randn(len(rows), WIDTH).to(dtype)
    y = torch.randn(len(rows), sum(widths)).to(dtype)
    before = y.clone()
    op = wrapper_for(rows, 32, kernel=kernel)
    owner = Owner()
    if learned:
        for slot, slice_ranks in ranks.items():
            op.learn_ranks(slot + 1, owner, {id(layer.a): slice_ranks})

    apply_linear(op, layer, y, x)

    want = torch.stack([layer.reference(before[i], x[i], slot) for i, slot in enumerate(rows)])
    assert_close(y, want, dtype)
    base = [i for i, slot in enumerate(rows) if slot < 0]
    assert torch.equal(y[base].view(torch.uint8), before[base].view(torch.uint8))


@pytest.mark.parametrize(
    ("indices", "rows", "runs", "span", "base_rows"),
    [
        ([], [], (), None, 0),
        ([-1, -1], [], (), None, 2),
        ([3, 3, 3], [0, 1, 2], ((3, 0, 3),), slice(0, 3), 0),
        ([-1, 0, 0, 5], [1, 2, 3], ((0, 0, 2), (5, 2, 3)), slice(1, 4), 1),
        ([2, -1, 0, 2], [2, 0, 3], ((0, 0, 1), (2, 1, 3)), None, 1),
    ],
)
def test_rows_are_grouped_by_slot_in_batch_order(
    indices: list[int], rows: list[int], runs: Any, span: slice | None, base_rows: int
) -> None:
    groups = lora_rows.group_rows(torch.tensor(indices, dtype=torch.long))

    assert groups.rows.tolist() == rows
    assert (groups.runs, groups.span, groups.base_rows) == (runs, span, base_rows)


@pytest.mark.parametrize("kernel", ROUTES)
@pytest.mark.parametrize("rows", [[-1, 0, 1, -1, 0], [-1, 0, 0, 1, -1]])
def test_base_rows_keep_their_bits_even_when_they_are_not_numbers(
    rows: list[int], kernel: str
) -> None:
    layer = build_layer(2, {0: (4,), 1: (8,)}, 16, (24,), torch.float32)
    x = torch.full((5, WIDTH), torch.nan)
    y = torch.full((5, 24), -0.0)
    y[0] = torch.nan
    before = y.clone()

    apply_linear(wrapper_for(rows, 2, kernel=kernel), layer, y, x)

    base = [0, 3] if rows[3] == -1 else [0, 4]
    assert torch.equal(y[base].view(torch.int32), before[base].view(torch.int32))


@pytest.mark.parametrize("kernel", ROUTES)
def test_stale_weights_in_slots_outside_the_batch_are_never_read(kernel: str) -> None:
    rows = [-1, 1, -1, 1, 3]
    layer = build_layer(5, {1: (8,), 3: (8,)}, 16, (24,), torch.float32)
    for slot in (0, 2, 4):
        layer.a[0][slot] = torch.nan
        layer.b[0][slot] = torch.nan
    y = torch.zeros(5, 24)

    apply_linear(wrapper_for(rows, 5, kernel=kernel), layer, y, torch.randn(5, WIDTH))

    assert bool(y.isfinite().all())


@pytest.mark.parametrize("kernel", ROUTES)
def test_a_broken_adapter_spoils_no_row_but_its_own(kernel: str) -> None:
    rows = [0, 1, -1, 0, 1]
    layer = build_layer(2, {0: (8,), 1: (8,)}, 16, (24,), torch.float32)
    layer.b[0][1] = torch.nan
    y = torch.zeros(5, 24)

    apply_linear(wrapper_for(rows, 2, kernel=kernel), layer, y, torch.randn(5, WIDTH))

    assert y.isfinite().all(dim=1).tolist() == [True, False, True, True, False]


def test_a_batch_without_adapters_touches_no_lora_weight() -> None:
    op = wrapper_for([-1, -1, -1], 2)
    nothing = SimpleNamespace()

    op.add_lora_linear(nothing, nothing, (nothing,), (nothing,), 1.0, (24,))
    op.add_lora_logits(nothing, nothing, nothing, nothing, 1.0)


@pytest.mark.parametrize("kernel", ROUTES)
def test_a_slice_the_adapter_leaves_alone_is_not_changed(kernel: str) -> None:
    layer = build_layer(1, {0: (8, 0, 8)}, 16, (24, 8, 8), torch.float32)
    owner = Owner()
    op = wrapper_for([0, 0], 1, kernel=kernel)
    op.learn_ranks(1, owner, {id(layer.a): (8, 0, 8)})
    layer.b[1][0] = torch.nan
    y = torch.zeros(2, 40)

    apply_linear(op, layer, y, torch.randn(2, WIDTH))

    assert bool((y[:, 24:32] == 0).all())
    assert bool((y[:, :24] != 0).any())


@pytest.mark.parametrize("kernel", ROUTES)
def test_learned_ranks_are_forgotten_with_the_weights_they_describe(kernel: str) -> None:
    layer = build_layer(1, {0: (8,)}, 16, (24,), torch.float32)
    x, y = torch.randn(2, WIDTH), torch.zeros(2, 24)
    owner = Owner()
    op = wrapper_for([0, 0], 1, kernel=kernel)
    op.learn_ranks(1, owner, {id(layer.a): (2,)})
    del owner

    apply_linear(op, layer, y, x)

    want = torch.stack([layer.reference(torch.zeros(24), row, 0) for row in x])
    assert_close(y, want, torch.float32)


def test_the_sharded_path_computes_the_same_as_the_plain_one() -> None:
    rows, widths = [-1, 0, 1, -1, 0], (24, 8, 8)
    layer = build_layer(2, {0: (4, 4, 4), 1: (16, 16, 16)}, 16, widths, torch.float32)
    x = torch.randn(5, WIDTH)
    plain, sharded = torch.zeros(5, 40), torch.zeros(5, 40)
    op = wrapper_for(rows, 2)
    buffer = torch.zeros(3, 5, 16)

    apply_linear(op, layer, plain, x)
    op.add_shrink(buffer, x, layer.a, 1.0)
    op.add_expand(sharded, buffer, layer.b, widths, add_inputs=True)

    assert_close(sharded, plain.double(), torch.float32)


def test_logits_use_the_adapter_of_each_sampled_row_and_leave_the_padding() -> None:
    layer = build_layer(2, {0: (4,), 1: (8,)}, 16, (VOCABULARY,), torch.float32)
    sampled = [1, -1, 0]
    x, y = torch.randn(3, WIDTH), torch.zeros(3, VOCABULARY + 28)
    op = wrapper_for([1] * 7 + [-1] + [0] * 4, 2, sampled=sampled)

    op.add_lora_logits(y, x, layer.a[0], layer.b[0], 1.0)

    zero = torch.zeros(VOCABULARY)
    want = torch.stack([layer.reference(zero, x[i], slot) for i, slot in enumerate(sampled)])
    assert_close(y[:, :VOCABULARY], want, torch.float32)
    assert bool((y[:, VOCABULARY:] == 0).all())


def test_embeddings_are_expanded_for_adapter_rows_only() -> None:
    layer = build_layer(2, {0: (4,), 1: (8,)}, 16, (24,), torch.float32)
    looked_up, y = torch.randn(3, 16), torch.zeros(3, 24)

    wrapper_for([-1, 1, 0], 2).add_lora_embedding(y, looked_up, layer.b[0], True)

    want = torch.stack(
        [torch.zeros(24), layer.b[0][1, 0] @ looked_up[1], layer.b[0][0, 0] @ looked_up[2]]
    )
    assert_close(y, want.double(), torch.float32)


def test_a_classification_head_replaces_only_the_rows_of_its_adapter() -> None:
    weights, bias = torch.randn(2, 1, 5, WIDTH), torch.randn(2, 5)
    x, y = torch.randn(3, WIDTH), torch.zeros(3, 5)
    enabled = torch.tensor([True, False])

    wrapper_for([0, -1, 1], 2).apply_lora_full_linear(y, x, weights, bias, enabled)

    assert_close(y[0], (weights[0, 0] @ x[0] + bias[0]).double(), torch.float32)
    assert bool((y[1:] == 0).all())


def test_steps_are_counted_by_what_they_mixed() -> None:
    first = build_layer(2, {0: (4,), 1: (4,)}, 8, (24,), torch.float32)
    second = build_layer(2, {0: (4,), 1: (4,)}, 8, (24,), torch.float32)
    op = wrapper_for([-1], 2)
    for rows in ([-1, -1], [0, 0], [-1, 0], [0, 1], [-1, 0, 1], [-1, 0, 1]):
        tell(op, rows, 2)
        for layer in (first, second):
            apply_linear(op, layer, torch.zeros(len(rows), 24), torch.randn(len(rows), WIDTH))

    assert op.counts() == {
        "steps": 6,
        "adapter_steps": 5,
        "base_beside_adapter_steps": 3,
        "multi_adapter_steps": 3,
    }
