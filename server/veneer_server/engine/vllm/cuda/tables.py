"""What the kernels of a step must know of its batch, on the device, at addresses that never change.

The tables are made on the CPU with numpy and go over in one asynchronous copy, so nothing waits for
the GPU. They hold what our kernels read and what vLLM's read: both sort the rows by slot.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from veneer_server.engine.vllm.cuda.plans import HEIGHTS
from veneer_server.engine.vllm.cuda.tiles import (
    BASE,
    NUMBERS,
    Array,
    Order,
    cut_tiles,
    most_tiles,
    sort_rows,
)

_COPIES = 4
"""Host buffers in turn: a copy may still be under way while the next batch is laid out."""


_ALIGNED = 16


class Mix:
    """The five tables that vLLM's kernels read of a batch, as views of one buffer."""

    NAMES = ("slot_of_row", "rows", "slots", "counts", "firsts")

    def __init__(self, views: Sequence[Any]) -> None:
        self.slot_of_row, self.rows, self.slots, self.counts, self.firsts = views

    @staticmethod
    def sizes(most_rows: int, slots: int) -> tuple[int, ...]:
        """Return how many numbers each table has; the base counts as a slot."""
        return (most_rows, most_rows, slots + 1, slots + 1, slots + 2)

    def fill(self, slot_of_row: Array, order: Order) -> None:
        """Write a batch into views of a host buffer, as vLLM's ``prepare_tensors`` does."""
        self.slot_of_row[: len(slot_of_row)] = slot_of_row
        self.rows[: len(order.rows)] = order.rows
        found = len(order.slots)
        for table, values, empty in (
            (self.slots, order.slots, BASE),
            (self.counts, order.counts, 0),
            (self.firsts, order.firsts, 0),
        ):
            table[:found], table[found:] = values, empty
        self.firsts[found] = len(order.rows)


class Tables:
    """The tables of one batch: one mix for its rows, one for its samples, and the tiles."""

    def __init__(self, most_rows: int, slots: int, device: Any) -> None:
        """Make room for batches of up to ``most_rows`` rows over ``slots`` slots."""
        mix = Mix.sizes(most_rows, slots)
        tiles = [NUMBERS * (1 + most_tiles(most_rows, slots, height)) for height in HEIGHTS]
        self._sizes = (*mix, *mix, *tiles)
        on_gpu = torch.device(device).type == "cuda"
        total = sum(map(_aligned, self._sizes))
        self._device = torch.zeros(total, dtype=torch.int32, device=device)
        self._hosts = [
            torch.zeros(total, dtype=torch.int32, pin_memory=on_gpu) for _ in range(_COPIES)
        ]
        self._copied = [torch.cuda.Event() if on_gpu else None for _ in range(_COPIES)]
        self._turn = 0
        views = list(_split(self._device, self._sizes))
        self.tokens, self.samples = Mix(views[:5]), Mix(views[5:10])
        self._tiles = dict(zip(HEIGHTS, views[10:], strict=True))
        self.no_lora = True
        """Whether no row of the batch has an adapter."""
        self.no_lora_samples = True

    @property
    def rows(self) -> torch.Tensor:
        """Return the rows of the batch by slot, those of the base first."""
        rows: torch.Tensor = self.tokens.rows
        return rows

    def tiles(self, height: int) -> torch.Tensor:
        """Return the tiles of ``height`` rows, after their head."""
        return self._tiles[height]

    def place(
        self, tokens: Array, samples: Array, ranks: Mapping[int, int], full_rank: int
    ) -> None:
        """Describe a batch by the slot of each row and of each sample; the copy is under way then.

        The work that is launched next on this stream sees the batch.
        """
        host, views = self._next_host()
        orders = []
        for slots, mix in ((tokens, Mix(views[:5])), (samples, Mix(views[5:10]))):
            order = sort_rows(slots)
            mix.fill(slots, order)
            orders.append(order)
        for view, height in zip(views[10:], HEIGHTS, strict=True):
            tiles = cut_tiles(orders[0], ranks, full_rank, height)
            view[: len(tiles)] = tiles
        self.no_lora, self.no_lora_samples = (_is_base(order) for order in orders)
        self._device.copy_(host, non_blocking=True)
        event = self._copied[self._turn]
        if event is not None:
            event.record()

    def _next_host(self) -> tuple[torch.Tensor, list[Array]]:
        self._turn = (self._turn + 1) % _COPIES
        event = self._copied[self._turn]
        if event is not None:
            event.synchronize()  # it is four batches old, so this does not wait
        host = self._hosts[self._turn]
        return host, list(_split(host.numpy(), self._sizes))


def _is_base(order: Order) -> bool:
    return bool(np.all(order.slots == BASE))


def _split(buffer: Any, sizes: Sequence[int]) -> Iterator[Any]:
    at = 0
    for size in sizes:
        yield buffer[at : at + size]
        at += _aligned(size)


def _aligned(size: int) -> int:
    """Return where the next table may begin: Triton loads more at once from aligned addresses."""
    return -(-size // _ALIGNED) * _ALIGNED
