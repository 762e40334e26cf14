"""Sequences, slots, ranks and KV cache, by device, model and adapters: no engine, no GPU."""

from dataclasses import replace
from typing import Any

import pytest

from support.tables import rows
from veneer_server.engine.sizing.shapes import Base, Shape
from veneer_server.engine.sizing.sizes import (
    GIB,
    MOST_SLOTS,
    SHARE,
    SLOT_RANKS,
    Asked,
    Device,
    MemoryTooSmall,
    Needs,
    Sizes,
    choose_sizes,
    kv_room,
    slot_bytes,
)
from veneer_server.engine.sizing.wording import to_lines

EMBEDDED = Base(
    269_060_552,
    Shape.of(
        {
            "hidden_size": 576,
            "intermediate_size": 1536,
            "num_hidden_layers": 30,
            "num_attention_heads": 9,
            "num_key_value_heads": 3,
        }
    ),
    "bfloat16",
)
EIGHT_B = Base(
    16_060_522_496,
    Shape.of(
        {
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
        }
    ),
    "bfloat16",
)
DEVICES = {
    "a machine with 20 GiB free": Device("cpu", "this machine", 20 * GIB),
    "a 24 GB card": Device("cuda", "NVIDIA L4", int(22.5 * GIB)),
    "a 48 GB card": Device("cuda", "NVIDIA L40S", int(44.5 * GIB)),
    "an 80 GB card": Device("cuda", "NVIDIA H100 80GB HBM3", int(79.2 * GIB)),
}
MODELS = {"embedded": EMBEDDED, "8B": EIGHT_B}


def sizes(device: Device, base: Base, needs: Needs | None = None, **asked: Any) -> Sizes:
    return choose_sizes(device, base, needs or Needs(), Asked(**asked))


@pytest.mark.parametrize(
    "cells", rows("docs/configuration.md", "model and device"), ids=lambda cells: cells[0]
)
def test_the_table_of_the_documents_is_what_is_chosen(cells: list[str]) -> None:
    model, _, device = cells[0].partition(" on ")
    rank, adapters = map(int, cells[1].split(" of ")[::-1]) if cells[1] != "none" else (0, 0)
    found = sizes(DEVICES[device], MODELS[model], Needs(rank, adapters))
    room = kv_room(DEVICES[device], MODELS[model], Asked(), found)
    assert room is not None
    shown = [found.max_seqs, found.device_slots, found.max_rank, f"{room / GIB:.1f} GiB"]
    assert cells[2:] == [str(value) for value in shown]


@pytest.mark.parametrize("device", list(DEVICES.values())[1:], ids=list(DEVICES)[1:])
@pytest.mark.parametrize("needs", [Needs(), Needs(16, 40), Needs(64, 3), Needs(512, 300)])
def test_slots_never_take_more_than_their_share(device: Device, needs: Needs) -> None:
    found = sizes(device, EIGHT_B, needs)
    slot = slot_bytes(EIGHT_B, found.max_rank)
    assert slot is not None
    assert EIGHT_B.weight_bytes is not None
    left = device.memory_bytes * 0.92 - EIGHT_B.weight_bytes
    assert found.device_slots * slot <= SHARE * left
    assert found.max_rank in SLOT_RANKS


def test_an_8b_model_starts_on_a_24_gb_card() -> None:
    found = sizes(DEVICES["a 24 GB card"], EIGHT_B)
    room = kv_room(DEVICES["a 24 GB card"], EIGHT_B, Asked(), found)
    assert room is not None
    assert room > GIB


def test_the_slots_are_raised_to_the_adapters_in_use() -> None:
    card = DEVICES["an 80 GB card"]
    assert sizes(card, EIGHT_B, Needs(16, 20)).device_slots == 20
    assert sizes(card, EIGHT_B, Needs(16, 5000)).device_slots == MOST_SLOTS
    assert sizes(card, EIGHT_B, Needs(33, 3)).max_rank == 64


def test_what_the_operator_set_is_never_changed() -> None:
    asked = {"max_seqs": 7, "device_slots": 40, "host_slots": 50, "max_rank": 128}
    found = sizes(DEVICES["an 80 GB card"], EIGHT_B, Needs(8, 1), **asked)
    assert {name: getattr(found, name) for name in asked} == asked


def test_with_few_host_slots_there_are_fewer_device_slots() -> None:
    assert sizes(DEVICES["an 80 GB card"], EIGHT_B, host_slots=4).device_slots == 3


def test_more_host_slots_than_device_slots_are_chosen() -> None:
    assert sizes(DEVICES["an 80 GB card"], EIGHT_B, device_slots=40).host_slots == 80


def test_a_kv_cache_that_was_set_is_taken_or_refused_on_a_gpu_too() -> None:
    card = DEVICES["a 24 GB card"]
    assert sizes(card, EIGHT_B, kv_bytes=2 * GIB).kv_bytes == 2 * GIB
    assert sizes(card, EIGHT_B).kv_bytes is None
    with pytest.raises(MemoryTooSmall, match=r"8\.0 GiB for the KV cache.*engine\.kv_cache_gib"):
        sizes(card, EIGHT_B, kv_bytes=8 * GIB)


def test_weights_that_do_not_fit_are_refused_with_what_to_do() -> None:
    large = replace(EIGHT_B, weight_bytes=70 * GIB)
    with pytest.raises(MemoryTooSmall, match=r"70\.0 GiB.*tensor_parallel_size"):
        sizes(DEVICES["a 48 GB card"], large)
    assert sizes(DEVICES["a 48 GB card"], large, gpus=2).device_slots == 8


def test_slots_that_were_set_too_large_are_refused_with_the_setting() -> None:
    with pytest.raises(MemoryTooSmall, match=r"32 adapter slots of rank 64.*device_slots"):
        sizes(DEVICES["a 24 GB card"], EIGHT_B, device_slots=32, max_rank=64)


def test_of_a_model_that_is_not_here_yet_only_what_is_known_is_decided() -> None:
    found = sizes(DEVICES["an 80 GB card"], Base(), Needs(32, 12))
    assert (found.device_slots, found.max_rank, found.kv_bytes) == (12, 32, None)
    assert "not known yet" in to_lines(DEVICES["an 80 GB card"], Base(), Asked(), found)[0]


@pytest.mark.parametrize(
    ("name", "gib", "sequences"),
    [("NVIDIA A100-SXM4-80GB", 80, 256), ("NVIDIA H100", 80, 1024), ("NVIDIA B200", 180, 1024)],
)
def test_a_card_gets_as_many_sequences_as_vllm_gives_it(
    name: str, gib: int, sequences: int
) -> None:
    assert sizes(Device("cuda", name, gib * GIB), EMBEDDED).max_seqs == sequences


def test_a_cpu_gets_a_quarter_of_the_free_memory_for_its_kv_cache_and_4_gib_at_most() -> None:
    assert sizes(Device("cpu", "", 8 * GIB), EMBEDDED).kv_bytes == 2 * GIB
    assert sizes(Device("cpu", "", 512 * GIB), EMBEDDED).kv_bytes == 4 * GIB
    assert sizes(Device("cpu", "", 8 * GIB), EMBEDDED, kv_bytes=9 * GIB).kv_bytes == 9 * GIB


def test_on_a_cpu_every_sequence_can_have_its_own_adapter() -> None:
    found = sizes(DEVICES["a machine with 20 GiB free"], EMBEDDED)
    assert found.device_slots >= found.max_seqs


def test_a_small_machine_gets_a_lower_rank_before_fewer_slots() -> None:
    found = sizes(Device("cpu", "", 4 * GIB), EMBEDDED)
    assert (found.device_slots, found.max_rank) == (32, 16)


def test_the_lines_say_what_waits_and_what_to_set() -> None:
    card, needs = DEVICES["a 24 GB card"], Needs(512, 9)
    found = sizes(card, EIGHT_B, needs)
    memory, at_once, change = to_lines(card, EIGHT_B, Asked(), found)
    assert memory.startswith("Memory: 15.0 GiB for the weights")
    assert memory.endswith("of 22.5 GiB of NVIDIA L4.")
    assert "computed in bfloat16" in at_once
    assert f"{9 - found.device_slots} of 9 adapters share the slots" in change
    assert "adapters.max_rank: 512" in change
