"""The rows of a batch, by slot and cut into tiles."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from veneer_server.engine.vllm.cuda.tiles import (
    BASE,
    NUMBERS,
    Array,
    cut_tiles,
    find_slots,
    most_tiles,
    sort_rows,
)

SLOTS = 6
batches = st.lists(st.integers(BASE, SLOTS - 1), min_size=1, max_size=150)
heights = st.sampled_from([1, 16, 64])


def tiles_of(slots: list[int], height: int, ranks: dict[int, int]) -> list[tuple[int, ...]]:
    flat = cut_tiles(sort_rows(np.array(slots)), ranks, 32, height)
    assert flat.dtype == np.int32
    table = flat.reshape(-1, NUMBERS).tolist()
    assert table[0] == [len(table) - 1, 0, 0, 0]
    return [tuple(tile) for tile in table[1:]]


@given(batches, heights)
def test_each_row_of_an_adapter_is_in_one_tile_of_its_slot(slots: list[int], height: int) -> None:
    rows = sort_rows(np.array(slots)).rows
    seen: list[int] = []
    for slot, first, length, _ in tiles_of(slots, height, {}):
        mine = rows[first : first + length].tolist()
        assert 0 < len(mine) <= height
        assert {slots[row] for row in mine} == {slot}
        seen += mine
    assert sorted(seen) == [row for row, slot in enumerate(slots) if slot != BASE]


@given(batches, heights)
def test_there_are_never_more_tiles_than_was_made_room_for(slots: list[int], height: int) -> None:
    assert len(tiles_of(slots, height, {})) <= most_tiles(len(slots), SLOTS, height)


@pytest.mark.parametrize(
    ("rows", "slots", "height", "most"),
    [(1, 16, 16, 1), (64, 16, 16, 19), (8, 16, 16, 8), (2048, 16, 64, 47), (64, 1, 16, 4)],
)
def test_the_most_tiles_are_one_for_each_slot_and_one_for_each_height_beyond(
    rows: int, slots: int, height: int, most: int
) -> None:
    assert most_tiles(rows, slots, height) == most


def test_a_tile_carries_the_rank_of_its_adapter_or_the_slots() -> None:
    found = tiles_of([2, 0, 2, -1], 16, {2: 8})
    assert found == [(0, 1, 1, 32), (2, 2, 2, 8)]


def test_a_batch_of_the_base_has_no_tile() -> None:
    assert tiles_of([-1, -1], 16, {}) == []


def find(adapters: list[int], slots: list[int | None]) -> Array:
    return find_slots(adapters, slots)


def test_a_row_finds_the_slot_of_its_adapter_and_the_base_none() -> None:
    assert find([7, 0, 5, 7], [5, None, 7]).tolist() == [2, -1, 0, 2]
    assert find([], [5]).tolist() == []


def test_an_adapter_in_no_slot_is_an_error() -> None:
    with pytest.raises(KeyError):
        find([9], [5, None])
