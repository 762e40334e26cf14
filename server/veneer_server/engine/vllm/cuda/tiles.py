"""Which rows of a batch each program of the kernels computes. Pure: numpy only, no GPU.

Rows are sorted by slot, those of the base first, and cut into tiles. A tile is at most ``height``
rows of one slot. Rows of the base are in no tile, so the kernels never touch them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

BASE = -1
"""The slot of a row without an adapter."""
NUMBERS = 4
"""Numbers of a tile: slot, first sorted row, rows, rank. The head before the tiles has as many,
and its first says how many tiles there are."""


@dataclass(frozen=True, slots=True)
class Order:
    """The rows of a batch by slot; ``slots``, ``firsts`` and ``counts`` have one for each slot."""

    rows: Array
    slots: Array
    firsts: Array
    counts: Array


def find_slots(adapters: Sequence[int], slot_to_adapter: Sequence[int | None]) -> Array:
    """Return the slot of each row; ``adapters`` has the id of each row's adapter, 0 for the base.

    Raises:
        KeyError: an adapter is in no slot.
    """
    slot_of = {adapter: slot for slot, adapter in enumerate(slot_to_adapter) if adapter is not None}
    ids, which = np.unique(np.asarray(adapters, dtype=np.int64), return_inverse=True)
    slots = [slot_of[int(one)] if one > 0 else BASE for one in ids]
    return np.asarray(slots, dtype=np.int32)[which]


def sort_rows(slots: Array) -> Order:
    """Return the rows by slot; rows of one slot stay in their order."""
    rows = np.argsort(slots, kind="stable").astype(np.int32)
    found, firsts, counts = np.unique(slots[rows], return_index=True, return_counts=True)
    return Order(rows, found.astype(np.int32), firsts.astype(np.int32), counts.astype(np.int32))


def cut_tiles(order: Order, ranks: Mapping[int, int], full_rank: int, height: int) -> Array:
    """Return the head and the tiles; a slot that ``ranks`` does not name has ``full_rank``."""
    tiles = [
        (slot, first + start, min(height, count - start), ranks.get(slot, full_rank))
        for slot, first, count in zip(*_lists(order), strict=True)
        if slot != BASE
        for start in range(0, count, height)
    ]
    return np.array([(len(tiles), 0, 0, 0), *tiles], dtype=np.int32).reshape(-1)


def most_tiles(rows: int, slots: int, height: int) -> int:
    """Return how many tiles ``rows`` rows can have at most, however they share the slots."""
    used = min(rows, slots)
    return used + (rows - used) // height


def _lists(order: Order) -> tuple[list[int], list[int], list[int]]:
    return order.slots.tolist(), order.firsts.tolist(), order.counts.tolist()
