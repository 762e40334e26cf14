"""Which rows of a batch use which adapter, and which route computes them.

Rule 1: a batch is grouped once, and not in each layer. Layers whose slots have equal ranks share
one choice of routes.
Rule 2: a row of the base model is in no run.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

Run = tuple[int, int, int]
"""``(slot, start, stop)``: ``rows[start:stop]`` of the same ``Groups`` use ``slot``."""


@dataclass(frozen=True, slots=True)
class Groups:
    """The rows of one batch that use an adapter, grouped by slot."""

    rows: torch.Tensor
    """``(n,)`` row numbers, ordered by slot, and in batch order within a slot."""
    runs: tuple[Run, ...]
    """Slots ascend, no run is empty, and together the runs cover ``rows``."""
    span: slice | None
    """Set when ``rows`` are consecutive and ascending: then a view replaces gather and scatter."""
    base_rows: int
    """How many rows of the batch use no adapter."""
    extent: int
    """The highest row number plus one; a batch with fewer rows is not the one that was grouped."""


def group_rows(indices: torch.Tensor) -> Groups:
    """Return the rows of each slot. ``indices`` ``(rows,)`` has slot numbers, or -1 for none."""
    order = torch.argsort(indices, stable=True)
    base_rows = int((indices < 0).sum())
    rows = order[base_rows:]
    slots, counts = torch.unique_consecutive(indices[rows], return_counts=True)
    return _lay_out(rows, slots.tolist(), counts.tolist(), base_rows)


@dataclass(frozen=True, slots=True)
class Routes:
    """The two routes that compute the rows of a batch; each run takes one of them."""

    rows: np.ndarray
    """``Groups.rows`` of the whole batch."""
    short: np.ndarray
    """``(n, 3)``: the runs of ``rows`` for the kernel."""
    long: Groups
    """The runs for matrix products."""


def choose_routes(groups: Groups, ranks: Sequence[int], long_work: float) -> Routes:
    """Give the kernel every run whose rows times ``ranks[slot]`` stay below ``long_work``."""
    long = [run for run in groups.runs if (run[2] - run[1]) * ranks[run[0]] >= long_work]
    short = [run for run in groups.runs if run not in long]
    return Routes(
        rows=groups.rows.numpy(),
        short=np.array(short, np.int64).reshape(-1, 3),
        long=_select(groups, long),
    )


def _select(groups: Groups, kept: list[Run]) -> Groups:
    if len(kept) == len(groups.runs):
        return groups
    parts = [groups.rows[a:b] for _, a, b in kept]
    rows = torch.cat(parts) if parts else groups.rows[:0]
    counts = [b - a for _, a, b in kept]
    return _lay_out(rows, [slot for slot, _, _ in kept], counts, groups.base_rows)


def _lay_out(rows: torch.Tensor, slots: list[int], counts: list[int], base_rows: int) -> Groups:
    runs: list[Run] = []
    start = 0
    for slot, count in zip(slots, counts, strict=True):
        runs.append((slot, start, start + count))
        start += count
    extent = int(rows.max()) + 1 if len(rows) else 0
    return Groups(rows, tuple(runs), _find_span(rows), base_rows, extent)


def _find_span(rows: torch.Tensor) -> slice | None:
    if not len(rows):
        return None
    first = int(rows[0])
    steps_by_one = bool((rows == torch.arange(first, first + len(rows))).all())
    return slice(first, first + len(rows)) if steps_by_one else None


@dataclass(slots=True)
class MixCounts:
    """Counts forward passes since the start by what they mixed. vLLM's dummy runs count too."""

    steps: int = 0
    adapter_steps: int = 0
    """Steps with at least one adapter."""
    base_beside_adapter_steps: int = 0
    """Steps with rows of the base model beside rows of an adapter."""
    multi_adapter_steps: int = 0
    """Steps with at least two adapters."""

    def observe(self, groups: Groups) -> None:
        """Count one forward pass over ``groups``."""
        self.steps += 1
        self.adapter_steps += bool(groups.runs)
        self.base_beside_adapter_steps += bool(groups.runs) and groups.base_rows > 0
        self.multi_adapter_steps += len(groups.runs) > 1
