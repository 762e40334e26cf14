"""Folds a DoRA into a plain LoRA: the best one of a given rank, and how large its error is.

From a weight W, DoRA makes the rows of W + s*B*A, each scaled to a trained length m. This change is
no product of two small matrices, so the fold approximates it. The error is measured on the change
itself, not estimated. Source: PEFT, lora/dora.py, ``DoraLinearLayer``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

GOOD_ERROR = 0.01
"""The rank is not made larger once the relative error is at most this."""
_EXTRA, _ROUNDS = 8, 3
"""Spare columns and power iterations of the range finder: usual defaults.

Source: N. Halko, P. Martinsson, J. Tropp, "Finding structure with randomness", SIAM Review 53(2),
2011, algorithm 4.4."""


@dataclass(frozen=True, slots=True)
class Folded:
    """The change of one module as ``b @ a``; the columns with the largest part come first."""

    a: Array
    """``(rank, in)``"""
    b: Array
    """``(out, rank)``"""
    squared: float
    """The squared Frobenius norm of the whole change."""
    captured: Array
    """``captured[k]``: how much of ``squared`` the first ``k + 1`` columns hold."""

    def error(self, rank: int) -> float:
        """Return the norm of what ``rank`` columns miss, relative to the norm of the change."""
        if self.squared == 0:
            return 0.0
        held = float(self.captured[min(rank, len(self.captured)) - 1])
        return float(np.sqrt(max(0.0, 1 - held / self.squared)))

    def cut(self, rank: int) -> tuple[Array, Array]:
        """Return A and B of exactly ``rank``, filled with zeros if there are fewer columns."""
        a = np.zeros((rank, self.a.shape[1]), np.float32)
        b = np.zeros((self.b.shape[0], rank), np.float32)
        kept = min(rank, len(self.a))
        a[:kept], b[:, :kept] = self.a[:kept], self.b[:, :kept]
        return a, b


def fold(weight: Array, a: Array, b: Array, scaling: float, magnitude: Array, rank: int) -> Folded:
    """Return the change that DoRA makes to ``weight``, as the best product of ``rank``."""
    changed = weight + np.float32(scaling) * (b @ a)
    norms = np.linalg.norm(changed, axis=1)
    changed *= (magnitude.reshape(-1) / np.where(norms == 0, 1, norms))[:, None]
    changed -= weight
    left, values, right = _largest(changed, min(rank, *changed.shape))
    root = np.sqrt(values)
    return Folded(
        a=(root[:, None] * right).astype(np.float32),
        b=(left * root).astype(np.float32),
        squared=float(np.sum(np.square(changed, dtype=np.float64))),
        captured=np.cumsum(np.square(values, dtype=np.float64)).astype(np.float32),
    )


def smallest_rank(folded: Mapping[str, Folded], most: int) -> int:
    """Return the least power of two at which no error is above ``GOOD_ERROR``, at most ``most``."""
    rank = 1
    while rank < most and max(f.error(rank) for f in folded.values()) > GOOD_ERROR:
        rank *= 2
    return min(rank, most)


def _largest(matrix: Array, count: int) -> tuple[Any, Any, Any]:
    """Return the ``count`` largest singular triplets of ``matrix``."""
    if min(matrix.shape) <= 4 * (count + _EXTRA):
        left, values, right = np.linalg.svd(matrix, full_matrices=False)
        return left[:, :count], values[:count], right[:count]
    # Always the same start, so that two repairs of one adapter give the same bytes.
    start = np.random.default_rng(0).standard_normal((matrix.shape[1], count + _EXTRA))
    basis, _ = np.linalg.qr(matrix @ start.astype(np.float32))
    for _ in range(_ROUNDS):
        basis, _ = np.linalg.qr(matrix.T @ basis)
        basis, _ = np.linalg.qr(matrix @ basis)
    small_left, values, right = np.linalg.svd(basis.T @ matrix, full_matrices=False)
    return (basis @ small_left)[:, :count], values[:count], right[:count]
