"""How the kernels cut a layer: sizes of tiles and parts. Pure.

A plan depends on the layer and on whether the batch is small, never on who is in it: a row is
rounded the same way whoever else runs. The sizes were the fastest of 15 to 27 for each kernel and
each layer of an 8B model on one H200, with 8, 64 and 128 rows and rank 16.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import gcd

SMALL = 256
"""Most rows that are cut like a decode step. More are cut like a prompt."""
SLICES = 3
"""Most slices of a fused layer that the kernels know."""
_ALIGNED = 16
_WIDE = 16384
"""Columns from which on an output gets the widest tiles; half of it is a wide input."""
_SHARED = 80 * 1024
"""Bytes of shared memory that a program of ``shrink`` may take: two fit an SM of 8.0 or 9.0."""
_WEIGHTS = 8192
"""Most weights of B that a program of ``expand`` holds; with twice as many its registers spill."""
_LONGEST = 16
"""Most parts of the input, which ``expand`` has to sum for each of its programs."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A linear layer as its stacks have it: width of the input, widths of the slices, rank."""

    width: int
    outs: tuple[int, ...]
    rank: int

    @property
    def padded_rank(self) -> int:
        """Return the rank that the kernels compute with: a power of two, at least 16."""
        return max(16, 1 << (self.rank - 1).bit_length())

    @property
    def fits(self) -> bool:
        """Return whether the kernels can compute this layer."""
        aligned = all(size % _ALIGNED == 0 for size in (self.width, *self.outs))
        return aligned and 1 <= len(self.outs) <= SLICES and 1 <= self.rank <= 128


@dataclass(frozen=True, slots=True)
class Plan:
    """Sizes of one layer's two kernels."""

    height: int
    """Most rows of a tile."""
    part: int
    """Columns of the input that one program of ``shrink`` multiplies."""
    parts: int
    block_k: int
    shrink_warps: int
    shrink_stages: int
    columns: int
    """Columns of the output that one program of ``expand`` computes."""
    expand_warps: int

    def workspace(self, layer: Layer, rows: int) -> int:
        """Return how many float32 the partial sums of ``rows`` rows take."""
        return self.parts * rows * len(layer.outs) * layer.padded_rank


HEIGHTS = (16, 64)
"""The heights that plans have. A batch is cut both ways: a graph decides by its own size."""


@lru_cache(maxsize=4096)
def plan_for(layer: Layer, rows: int) -> Plan:
    """Return the plan of a layer for a batch of ``rows`` rows."""
    small = rows <= SMALL
    height = HEIGHTS[0] if small else HEIGHTS[1]
    three = small and len(layer.outs) == SLICES
    warps, stages = (2, 3) if three else (4, 4)
    block_k = _choose_block(layer, height, stages, widest=128 if small else 64)
    part = _choose_part(layer.width, block_k, wanted=_wanted_part(layer.width, small=small))
    widest = (512 if sum(layer.outs) >= _WIDE else 256) if small else 128
    return Plan(
        height=height,
        part=part,
        parts=-(-layer.width // part),
        block_k=block_k,
        shrink_warps=warps,
        shrink_stages=stages,
        columns=_choose_columns(layer.outs, min(widest, _WEIGHTS // layer.padded_rank)),
        expand_warps=8,
    )


def _wanted_part(width: int, *, small: bool) -> int:
    if small:
        return 512 if width < _WIDE // 2 else 1024
    return 2048 if width < _WIDE // 2 else 3584


def _choose_block(layer: Layer, height: int, stages: int, widest: int) -> int:
    block = widest
    while block > 32 and _shared(layer, height, stages, block) > _SHARED:
        block //= 2
    return block


def _shared(layer: Layer, height: int, stages: int, block: int) -> int:
    return 2 * stages * block * (height + len(layer.outs) * layer.padded_rank)


def _choose_part(width: int, block: int, wanted: int) -> int:
    """Return a multiple of ``block`` near ``wanted`` that divides ``width``, if there is one."""
    blocks = -(-width // block)
    parts = min(_LONGEST, max(1, round(width / wanted)))
    while width % block == 0 and blocks % parts and parts > 1:
        parts -= 1
    return -(-blocks // parts) * block


def _choose_columns(outs: tuple[int, ...], widest: int) -> int:
    """Return the most columns that divide all slices, at least 64."""
    even = gcd(*outs)
    return max(64, min(widest, even & -even))
