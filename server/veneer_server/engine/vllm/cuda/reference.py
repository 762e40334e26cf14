"""What the products of adapters should be, in float64, and whether others are close enough.

Pure: numpy only, no GPU. The same checks hold for our own kernels on a CPU.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

TOLERANCE = 0.02
"""The largest relative error of a row. bfloat16 rounds by 0.004, and a mixed-up row is off by 1."""
_LONG = 700
"""Rows of the long batch: reports of wrong results begin above 600 (vllm #48590, #52568)."""
_DECODE = (1, 0, 2, 3, 0, 1)
"""Adapters of the rows of a decode step, counted from 1; 0 is the base."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The adapter of each row, counted from 1; 0 is a row of the base."""

    name: str
    adapters: tuple[int, ...]
    is_prefill: bool


def batches(adapters: int, most_rows: int) -> list[Batch]:
    """Return a long prefill and a decode step that mix ``adapters`` adapters and the base."""
    rows = min(_LONG, most_rows)
    long = tuple(row * (adapters + 1) // rows for row in range(rows))
    short = tuple(min(one, adapters) for one in _DECODE)[:most_rows]
    return [
        Batch(f"a prompt of {rows} tokens", long, is_prefill=True),
        Batch("a decode step", short, is_prefill=False),
    ]


def expected(
    x: Array, a: Mapping[int, Sequence[Array]], b: Mapping[int, Sequence[Array]], batch: Batch
) -> Array:
    """Return ``B A x`` of each row with its own adapter; zeros for rows of the base.

    ``x`` is ``(rows, in)``; A is ``(rank, in)`` and B ``(out, rank)``, one for each slice.
    """
    width = sum(len(part) for part in next(iter(b.values())))
    found = np.zeros((len(x), width))
    which = np.array(batch.adapters)
    for adapter, parts in a.items():
        rows = np.flatnonzero(which == adapter)
        wide = x[rows].astype(np.float64)
        products = [
            wide @ down.astype(np.float64).T @ up.astype(np.float64).T
            for down, up in zip(parts, b[adapter], strict=True)
        ]
        found[rows] = np.concatenate(products, axis=1)
    return found


def find_fault(got: Array, want: Array, batch: Batch) -> str | None:
    """Return what is wrong with ``got`` in one clause, or None."""
    broken = ~np.isfinite(got).all(axis=1)
    if broken.any():
        return f"{batch.name}: {int(broken.sum())} of {len(got)} rows are not finite"
    base = np.array(batch.adapters) == 0
    if got[base].any():
        return f"{batch.name}: rows of the base get an adapter"
    errors = np.linalg.norm(got - want, axis=1)[~base] / np.linalg.norm(want, axis=1)[~base]
    if (errors > TOLERANCE).any():
        return f"{batch.name}: a row is wrong by {errors.max():.0%}"
    return None
