"""What a slot holds after any series of writes."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.asked import need
from veneer_adapters.errors import LoadFailed, NoEffect
from veneer_server.engine.vllm.lora.pack import PackedPair

pytestmark = pytest.mark.engine

torch = need("torch")
lora_slots = need("veneer_server.engine.vllm.lora.slots")
lora_layer = need("veneer_server.engine.vllm.lora.layer")

WIDTH, MAX_RANK, SLOTS = 6, 8, 3
LAYERS = {("q", "k"): (5, 4), ("down",): (7,)}


def build() -> tuple[Any, dict[tuple[str, ...], Any]]:
    layers = {}
    for names, widths in LAYERS.items():
        a = tuple(torch.zeros(SLOTS, 1, MAX_RANK, WIDTH) for _ in widths)
        b = tuple(torch.zeros(SLOTS, 1, width, MAX_RANK) for width in widths)
        layers[names] = lora_layer.LayerStacks(a, b)
    return lora_slots.SlotWeights(layers), layers


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
