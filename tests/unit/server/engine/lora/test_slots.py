"""What a slot holds after any series of writes."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.asked import need
from veneer_adapters.errors import LoadFailed, NoEffect
from veneer_server.engine.vllm.lora.pack import PackedPair
from veneer_server.engine.vllm.lora.spans import split_layer

pytestmark = pytest.mark.engine

torch = need("torch")
lora_slots = need("veneer_server.engine.vllm.lora.slots")
lora_layer = need("veneer_server.engine.vllm.lora.layer")

WIDTH, MAX_RANK, SLOTS = 6, 8, 3
LAYERS = {("q", "k"): (5, 4), ("down",): (7,)}


def build_layer(widths: tuple[int, ...]) -> Any:
    a = tuple(torch.zeros(SLOTS, 1, MAX_RANK, WIDTH) for _ in widths)
    b = tuple(torch.zeros(SLOTS, 1, width, MAX_RANK) for width in widths)
    return lora_layer.LayerStacks(a, b)


def build() -> tuple[Any, dict[tuple[str, ...], Any]]:
    layers = {names: build_layer(widths) for names, widths in LAYERS.items()}
    spans = {}
    for names, widths in LAYERS.items():
        spans |= split_layer("+".join(names), names, WIDTH, widths, {})
    named = {"+".join(names): layer for names, layer in layers.items()}
    return lora_slots.SlotWeights(named, spans), layers


def random_pair(rng: Any, width: int, rank: int) -> PackedPair:
    a = rng.standard_normal((rank, WIDTH), np.float32)
    return PackedPair(a, rng.standard_normal((rank, width), np.float32))


@given(
    writes=st.lists(
        st.tuples(
            st.integers(0, SLOTS - 1),
            st.fixed_dictionaries(
                {name: st.integers(0, MAX_RANK) for name in ("q", "k", "down")}
            ).filter(lambda ranks: any(ranks.values())),
        ),
        max_size=6,
    ),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_slot_holds_what_was_written_last_and_zeros_beyond(
    writes: list[tuple[int, dict[str, int]]], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    weights, layers = build()
    widths = {"q": 5, "k": 4, "down": 7}
    held: dict[int, dict[str, PackedPair]] = {}
    for slot, ranks in writes:
        held[slot] = {n: random_pair(rng, widths[n], rank) for n, rank in ranks.items() if rank}
        weights.write(slot, held[slot])
    for names, layer in layers.items():
        for i, name in enumerate(names):
            for slot in range(SLOTS):
                pair = held.get(slot, {}).get(name)
                a, b = np.zeros((MAX_RANK, WIDTH)), np.zeros((MAX_RANK, widths[name]))
                if pair is not None:
                    a[: len(pair.a)], b[: len(pair.b)] = pair.a, pair.b
                assert np.array_equal(layer.a[i][slot, 0].numpy(), a)
                assert np.array_equal(layer.b[i][slot, 0].t().numpy(), b)


def test_ranks_are_told_for_each_slice_of_each_layer() -> None:
    rng = np.random.default_rng()
    weights, layers = build()
    packed = {"k": random_pair(rng, 4, 3), "down": random_pair(rng, 7, 8)}
    told = weights.ranks(packed)
    assert told == {id(layers["q", "k"].a): (0, 3), id(layers["down",].a): (8,)}


def test_a_module_of_several_slices_gives_each_all_of_a_and_its_own_columns_of_b() -> None:
    rng = np.random.default_rng()
    layer = build_layer((5, 2, 2))
    spans = split_layer("qkv", ["qkv"], WIDTH, (5, 2, 2), {})
    weights = lora_slots.SlotWeights({"qkv": layer}, spans)
    pair = random_pair(rng, 9, 3)
    weights.write(1, {"qkv": pair})
    assert all(np.array_equal(a[1, 0, :3].numpy(), pair.a) for a in layer.a)
    written = np.concatenate([b[1, 0].t().numpy()[:3] for b in layer.b], axis=1)
    assert np.array_equal(written, pair.b)
    assert weights.ranks({"qkv": pair}) == {id(layer.a): (3, 3, 3)}


@pytest.mark.parametrize("columns", [8, 10], ids=["too few", "too many"])
def test_a_module_of_several_slices_with_other_columns_is_refused(columns: int) -> None:
    spans = split_layer("qkv", ["qkv"], WIDTH, (5, 2, 2), {})
    weights = lora_slots.SlotWeights({"qkv": build_layer((5, 2, 2))}, spans)
    with pytest.raises(LoadFailed):
        weights.write(0, {"qkv": random_pair(np.random.default_rng(), columns, 3)})


@pytest.mark.parametrize(
    ("packed", "fact"),
    [
        ({"elsewhere": PackedPair(np.zeros((1, WIDTH)), np.zeros((1, 5)))}, NoEffect),
        (
            {
                "q": PackedPair(np.zeros((1, WIDTH)), np.zeros((1, 5))),
                "elsewhere": PackedPair(np.zeros((1, WIDTH)), np.zeros((1, 5))),
            },
            LoadFailed,
        ),
        ({"q": PackedPair(np.zeros((1, WIDTH - 1)), np.zeros((1, 5)))}, LoadFailed),
        ({"q": PackedPair(np.zeros((1, WIDTH)), np.zeros((1, 4)))}, LoadFailed),
        ({"q": PackedPair(np.zeros((9, WIDTH)), np.zeros((9, 5)))}, LoadFailed),
    ],
    ids=["no module", "one unknown module", "narrow A", "narrow B", "rank above the slot's"],
)
def test_weights_that_do_not_fit_are_refused(packed: Any, fact: type[Exception]) -> None:
    weights, _layers = build()
    with pytest.raises(fact):
        weights.write(0, packed)


def test_after_a_refused_write_the_next_adapter_finds_zeros_beyond_its_rank() -> None:
    rng = np.random.default_rng()
    weights, layers = build()
    broken = {"q": random_pair(rng, 5, 8), "k": PackedPair(np.ones((8, 1)), np.ones((8, 4)))}
    with pytest.raises(LoadFailed):
        weights.write(0, broken)
    weights.write(0, {"down": random_pair(rng, 7, 1)})
    assert not layers["q", "k"].a[0].any()
