"""The LoRA products for few rows per adapter, compiled by numba: one call per layer and step.

Rule 1: the kernel reads the weights in vLLM's own stacks, so no copy can be out of date.
Rule 2: it reads only the slots of the runs, and writes only the rows of the runs.
Rule 3: it uses no fastmath flag that assumes finite numbers: a NaN stays, and stays in its row.

A bfloat16 is stored as ``uint16``, which is the upper half of a float32. All sums are in float32,
and each output is rounded once. There are no bounds checks, so the caller must make sure that
every index is right. Only the engine's processes import this file.
"""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numba import config, njit, prange, types
from numba.extending import overload

from veneer_server.engine.vllm.lora.layer import SLICES

logger = logging.getLogger("vllm.veneer.lora")  # a worker shows only the loggers under "vllm"

_Function = TypeVar("_Function", bound=Callable[..., Any])

BLOCK = 4
"""How many rows are computed with one reading of the weights."""

CACHE_FOLDER = Path("~/.cache/veneer/numba")
"""The folder that keeps compiled code between starts. Only its owner may write to it, because its
content is executed."""

_FASTMATH = {"reassoc", "contract", "nsz"}


def _compiled(function: _Function) -> _Function:
    return njit(fastmath=_FASTMATH, nogil=True)(function)


def _compiled_once(function: _Function, **options: Any) -> _Function:
    """Compile like ``_compiled``, and keep the result in ``CACHE_FOLDER`` if that is possible."""
    before, folder = config.CACHE_DIR, CACHE_FOLDER.expanduser()
    # numba reads this setting while it decorates. It is set back, so that vLLM's own compiled
    # functions keep their folder.
    config.CACHE_DIR = str(folder)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return njit(fastmath=_FASTMATH, nogil=True, cache=True, **options)(function)
    except (OSError, RuntimeError) as error:  # RuntimeError: numba finds no folder to write to
        logger.warning("the LoRA kernel is compiled at every start: %s", error)
        return njit(fastmath=_FASTMATH, nogil=True, **options)(function)
    finally:
        config.CACHE_DIR = before


def _overloads(target: Callable[..., Any]) -> Callable[[_Function], _Function]:
    return overload(target, jit_options={"fastmath": _FASTMATH}, strict=False)


def _widen(stored: Any) -> Any:
    """Return a stored number as float32, exactly."""
    raise NotImplementedError


def _round(number: Any, stored: Any) -> Any:
    """Return a float32 in the type of ``stored``, rounded to nearest even."""
    raise NotImplementedError


@_overloads(_widen)
def _choose_widen(stored: Any) -> Any:
    if stored == types.uint16:
        return lambda stored: np.uint32(np.uint32(stored) << np.uint32(16)).view(np.float32)
    return lambda stored: stored


@_overloads(_round)
def _choose_round(number: Any, stored: Any) -> Any:
    def to_bfloat16(number: Any, stored: Any) -> Any:
        bits = np.float32(number).view(np.uint32)
        odd = (bits >> np.uint32(16)) & np.uint32(1)
        # A NaN stays a NaN: its lower half is zero, as in every widened number, so no carry
        # reaches its upper half.
        return np.uint16(np.uint32(bits + np.uint32(0x7FFF) + odd) >> np.uint32(16))

    return to_bfloat16 if stored == types.uint16 else lambda number, stored: number


@_compiled
def _shrink_row(x: Any, a: Any, rank: int, h: Any) -> None:
    """Write ``a[:rank] @ x`` into ``h`` for the first row of the block."""
    x0 = x[0]
    for r in range(rank):
        weights = a[r]
        s0 = np.float32(0)
        for i in range(len(weights)):
            s0 += _widen(weights[i]) * x0[i]
        h[0, r] = s0


@_compiled
def _shrink_block(x: Any, a: Any, rank: int, h: Any) -> None:
    """Write ``a[:rank] @ x`` into ``h`` for every row of the block."""
    x0, x1, x2, x3 = x[0], x[1], x[2], x[3]
    for r in range(rank):
        weights = a[r]
        s0, s1, s2, s3 = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
        for i in range(len(weights)):
            w = _widen(weights[i])
            s0 += w * x0[i]
            s1 += w * x1[i]
            s2 += w * x2[i]
            s3 += w * x3[i]
        h[0, r], h[1, r], h[2, r], h[3, r] = s0, s1, s2, s3


@_compiled
def _expand_row(h: Any, b: Any, rank: int, delta: Any) -> None:
    """Write ``h @ b[:rank]`` into ``delta`` for the first row of the block."""
    d0, width = delta[0], b.shape[1]
    d0[:width] = 0
    for r in range(0, rank - rank % 4, 4):
        b0, b1, b2, b3 = b[r], b[r + 1], b[r + 2], b[r + 3]
        h0, h1, h2, h3 = h[0, r], h[0, r + 1], h[0, r + 2], h[0, r + 3]
        for o in range(width):
            near = h0 * _widen(b0[o]) + h1 * _widen(b1[o])
            d0[o] += near + (h2 * _widen(b2[o]) + h3 * _widen(b3[o]))
    for r in range(rank - rank % 4, rank):
        b0, h0 = b[r], h[0, r]
        for o in range(width):
            d0[o] += h0 * _widen(b0[o])


@_compiled
def _expand_block(h: Any, b: Any, rank: int, delta: Any) -> None:
    """Write ``h @ b[:rank]`` into ``delta`` for every row of the block."""
    d0, d1, d2, d3 = delta[0], delta[1], delta[2], delta[3]
    width = b.shape[1]
    delta[:, :width] = 0
    for r in range(0, rank - rank % 4, 4):
        b0, b1, b2, b3 = b[r], b[r + 1], b[r + 2], b[r + 3]
        h00, h01, h02, h03 = h[0, r], h[0, r + 1], h[0, r + 2], h[0, r + 3]
        h10, h11, h12, h13 = h[1, r], h[1, r + 1], h[1, r + 2], h[1, r + 3]
        h20, h21, h22, h23 = h[2, r], h[2, r + 1], h[2, r + 2], h[2, r + 3]
        h30, h31, h32, h33 = h[3, r], h[3, r + 1], h[3, r + 2], h[3, r + 3]
        for o in range(width):
            w0, w1, w2, w3 = _widen(b0[o]), _widen(b1[o]), _widen(b2[o]), _widen(b3[o])
            d0[o] += (h00 * w0 + h01 * w1) + (h02 * w2 + h03 * w3)
            d1[o] += (h10 * w0 + h11 * w1) + (h12 * w2 + h13 * w3)
            d2[o] += (h20 * w0 + h21 * w1) + (h22 * w2 + h23 * w3)
            d3[o] += (h30 * w0 + h31 * w1) + (h32 * w2 + h33 * w3)
    for r in range(rank - rank % 4, rank):
        b0, h0, h1, h2, h3 = b[r], h[0, r], h[1, r], h[2, r], h[3, r]
        for o in range(width):
            w = _widen(b0[o])
            d0[o] += h0 * w
            d1[o] += h1 * w
            d2[o] += h2 * w
            d3[o] += h3 * w


@_compiled
def _read_rows(x: Any, rows: Any, block: Any) -> None:
    for m in range(len(rows)):
        stored, wide = x[rows[m]], block[m]
        for i in range(len(stored)):
            wide[i] = _widen(stored[i])


@_compiled
def _add_rows(y: Any, rows: Any, left: int, width: int, delta: Any) -> None:
    for m in range(len(rows)):
        # A slice, because the compiler does not vectorise an index with an offset.
        stored, added = y[rows[m], left : left + width], delta[m]
        for o in range(width):
            stored[o] = _round(_widen(stored[o]) + added[o], stored[o])


@_compiled_once
def add_part(
    y: Any,
    x: Any,
    rows: Any,
    runs: Any,
    ranks: Any,
    a_stacks: Any,
    b_stacks: Any,
    part: tuple[int, int],
) -> None:
    """Add ``B A x`` to ``y`` ``(rows, sum of out)``, in place: to ``rows[slice(*part)]``.

    ``rows`` and ``runs`` are those of ``Groups``; ``ranks`` is ``(slots, slices)``. For each slice,
    A is ``(slots, 1, max_rank, in)``, and B is laid out by rank: ``(slots, 1, max_rank, out)``.
    """
    widest = 0
    for b_stack in b_stacks:
        widest = max(widest, b_stack.shape[3])
    block = np.zeros((BLOCK, x.shape[1]), np.float32)
    h = np.empty((BLOCK, a_stacks[0].shape[2]), np.float32)
    delta = np.empty((BLOCK, widest), np.float32)
    for run in range(len(runs)):
        slot, start, stop = runs[run, 0], max(runs[run, 1], part[0]), min(runs[run, 2], part[1])
        for at in range(start, stop, BLOCK):
            own = rows[at : min(at + BLOCK, stop)]
            _read_rows(x, own, block)
            left = 0
            for i in range(len(a_stacks)):
                a, b, rank = a_stacks[i][slot, 0], b_stacks[i][slot, 0], ranks[slot, i]
                if rank > 0 and len(own) == 1:
                    _shrink_row(block, a, rank, h)
                    _expand_row(h, b, rank, delta)
                elif rank > 0:
                    _shrink_block(block, a, rank, h)
                    _expand_block(h, b, rank, delta)
                if rank > 0:
                    _add_rows(y, own, left, b.shape[1], delta)
                left += b.shape[1]


@partial(_compiled_once, parallel=True)
def add_shared_delta(
    y: Any, x: Any, rows: Any, runs: Any, ranks: Any, a_stacks: Any, b_stacks: Any, parts: int
) -> None:
    """Add ``B A x`` for all rows, in ``parts`` parts on the threads of ``lora.threads``.

    Each row comes out the same bit by bit, however many parts there are.
    """
    share = (len(rows) + parts * BLOCK - 1) // (parts * BLOCK) * BLOCK
    for part in prange(parts):
        end = (part + 1) * share
        add_part(y, x, rows, runs, ranks, a_stacks, b_stacks, (end - share, end))


def warm_up(rows_stored: Any, stored: Any, parts: int = 1) -> None:
    """Compile the kernel for layers of numpy dtype ``stored`` that are filled up to ``SLICES``.

    ``rows_stored`` is the dtype of the rows. With more than one part, compile it for threads too.
    This takes seconds the first time on a machine, and milliseconds when the cache folder has it.
    """
    y, rows, weights = np.zeros((1, 1), rows_stored), np.zeros(0, np.int64), np.zeros((1, 1, 1, 1))
    stacks = (weights.astype(stored),) * SLICES
    batch = y, y, rows, rows.reshape(0, 3), np.zeros((1, SLICES), np.int64), stacks, stacks
    add_part(*batch, (0, 0))
    if parts > 1:
        add_shared_delta(*batch, parts)
