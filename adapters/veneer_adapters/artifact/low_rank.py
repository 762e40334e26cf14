"""The best product of a lower rank for B·A, found without ever making B·A.

QR of both matrices leaves a small core with the same singular values as B·A. What is cut off is the
smallest of them, so no other product of that rank comes nearer in the Frobenius norm.
Source: C. Eckart, G. Young, "The approximation of one matrix by another of lower rank",
Psychometrika 1, 1936.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Values = NDArray[np.float64]


def singular_values(a: Array, b: Array) -> Values:
    """Return the singular values of ``b @ a``, the largest first; the others are zero."""
    in_part: Any = np.linalg.qr(a.T, mode="r")  # numpy's types know only the other mode
    out_part: Any = np.linalg.qr(b, mode="r")
    return _values(_core(in_part, out_part))


def error_at(values: Values, rank: int) -> float:
    """Return the norm of what is lost at ``rank``, relative to the norm of the whole product."""
    largest = float(values[0])
    if largest == 0:
        return 0.0
    shares = values / largest  # so that no square is too large or too small
    return float(np.linalg.norm(shares[rank:]) / np.linalg.norm(shares))


def rank_for(values: Values, error: float) -> int:
    """Return the least rank, at least 1, at which no more than ``error`` is lost."""
    ranks = range(1, len(values) + 1)
    return next(rank for rank in ranks if error_at(values, rank) <= error)


def cut(a: Array, b: Array, scaling: float, rank: int) -> tuple[Array, Array, Values]:
    """Return A and B of exactly ``rank`` whose product is nearest to ``scaling * b @ a``.

    Both matrices get an equal part of each singular value. Rows and columns beyond the rank of the
    product are zero. The third value is what ``singular_values`` returns.
    """
    in_basis, in_part = np.linalg.qr(a.T)
    out_basis, out_part = np.linalg.qr(b)
    core = _core(in_part, out_part)
    left, values, right = np.linalg.svd(core, full_matrices=False)
    kept = min(rank, len(values))
    roots = np.sqrt(values[:kept] * scaling)
    low_a = np.zeros((rank, a.shape[1]), np.float32)
    low_b = np.zeros((b.shape[0], rank), np.float32)
    low_a[:kept] = (roots[:, None] * right[:kept]) @ in_basis.T
    low_b[:, :kept] = out_basis @ (left[:, :kept] * roots)
    # Not ``values``: LAPACK rounds them otherwise, and what is allowed once must stay allowed.
    return low_a, low_b, _values(core)


def _values(core: Values) -> Values:
    return np.linalg.svd(core, compute_uv=False).astype(np.float64)


def _core(in_part: NDArray[Any], out_part: NDArray[Any]) -> Values:
    # In double precision: two small single ones have a product that single precision loses.
    core: Values = out_part.astype(np.float64) @ in_part.T.astype(np.float64)
    return core
