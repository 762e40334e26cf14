"""How the kernels cut a layer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veneer_server.engine.vllm.cuda.plans import HEIGHTS, SMALL, Layer, plan_for

LAYERS = {
    "qkv": Layer(4096, (4096, 1024, 1024), 16),
    "gate_up": Layer(4096, (14336, 14336), 16),
    "down": Layer(14336, (4096,), 16),
    "small": Layer(576, (576, 192, 192), 64),
}
sixteens = st.integers(1, 2000).map(lambda n: 16 * n)
layers = st.builds(
    Layer,
    sixteens,
    st.lists(sixteens, min_size=1, max_size=3).map(tuple),
    st.sampled_from([1, 8, 16, 32, 64, 128]),
)


@given(layers, st.integers(1, 9000))
def test_a_plan_covers_the_input_once_with_powers_of_two(layer: Layer, rows: int) -> None:
    plan = plan_for(layer, rows)
    assert layer.fits
    assert (plan.parts - 1) * plan.part < layer.width <= plan.parts * plan.part
    assert plan.part % plan.block_k == 0
    for size in (plan.block_k, plan.columns, plan.height, layer.padded_rank):
        assert size >= 16
        assert size & (size - 1) == 0


@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
def test_only_the_kind_of_batch_decides_how_a_row_is_rounded(layer: Layer) -> None:
    assert len({plan_for(layer, rows) for rows in range(1, SMALL + 1)}) == 1
    assert len({plan_for(layer, rows) for rows in (SMALL + 1, 2048, 8192)}) == 1
    assert (plan_for(layer, 1).height, plan_for(layer, 8192).height) == HEIGHTS


@pytest.mark.parametrize(
    ("layer", "parts"), [("qkv", 8), ("gate_up", 8), ("down", 14), ("small", 1)]
)
def test_a_decode_step_is_split_into_even_parts(layer: str, parts: int) -> None:
    one = LAYERS[layer]
    plan = plan_for(one, 64)
    assert plan.parts == parts
    assert layer == "small" or plan.part * plan.parts == one.width


def test_columns_divide_the_slices_where_they_can() -> None:
    assert plan_for(LAYERS["gate_up"], 8).columns == 512
    assert plan_for(LAYERS["qkv"], 8).columns == 256
    assert plan_for(LAYERS["small"], 8).columns == 64


@pytest.mark.parametrize(
    "layer",
    [Layer(100, (64,), 8), Layer(64, (60,), 8), Layer(64, (16,) * 4, 8), Layer(64, (64,), 256)],
)
def test_a_layer_that_the_kernels_do_not_know_does_not_fit(layer: Layer) -> None:
    assert not layer.fits


def test_the_scratch_holds_every_part_of_every_row_and_slice() -> None:
    plan = plan_for(LAYERS["qkv"], 64)
    assert plan.workspace(LAYERS["qkv"], 64) == 8 * 64 * 3 * 16
