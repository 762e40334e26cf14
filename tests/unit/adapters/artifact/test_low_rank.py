"""The nearest product of a lower rank is numpy's, found without the whole product."""

import numpy as np
import pytest

from veneer_adapters.artifact import low_rank

SHAPES = [
    ("both sides larger than the rank", 24, 16, 40),
    ("fewer inputs than the rank", 24, 10, 40),
    ("fewer outputs than the rank", 24, 40, 10),
]


def matrices(rank: int, inputs: int, outputs: int) -> tuple[low_rank.Array, low_rank.Array]:
    rng = np.random.default_rng(rank + inputs)
    a, b = rng.standard_normal((rank, inputs)), rng.standard_normal((outputs, rank))
    return a.astype(np.float32), b.astype(np.float32)


@pytest.mark.parametrize(
    ("rank", "inputs", "outputs"), [s[1:] for s in SHAPES], ids=[s[0] for s in SHAPES]
)
def test_the_cut_is_the_truncated_svd_of_the_whole_product(
    rank: int, inputs: int, outputs: int
) -> None:
    a, b = matrices(rank, inputs, outputs)
    whole = 0.5 * b.astype(np.float64) @ a
    left, values, right = np.linalg.svd(whole, full_matrices=False)
    nearest = (left[:, :8] * values[:8]) @ right[:8]
    low_a, low_b, cut_values = low_rank.cut(a, b, 0.5, 8)
    assert (low_a.shape, low_b.shape) == ((8, inputs), (outputs, 8))
    assert np.allclose(low_b @ low_a, nearest, atol=1e-5 * values[0])
    found = low_rank.singular_values(a, b)
    assert np.allclose(found, (values / 0.5)[: len(found)], atol=1e-5 * values[0])
    error = np.linalg.norm(whole - nearest) / np.linalg.norm(whole)
    assert low_rank.error_at(found, 8) == pytest.approx(error, rel=1e-4)
    assert np.allclose(cut_values, found, rtol=1e-5, atol=1e-5)


def test_what_has_a_low_rank_in_truth_loses_nothing() -> None:
    a, b = matrices(8, 40, 24)
    mix = np.random.default_rng(1).standard_normal((16, 8)).astype(np.float32)
    wide_a, wide_b = mix @ a, b @ np.linalg.pinv(mix)
    assert low_rank.error_at(low_rank.singular_values(wide_a, wide_b), 8) < 1e-6
    low_a, low_b, _ = low_rank.cut(wide_a, wide_b, 2.0, 8)
    assert np.allclose(low_b @ low_a, 2.0 * b @ a, atol=1e-4)


def test_the_rank_that_is_needed_is_the_least_that_keeps_enough() -> None:
    values = np.array([4.0, 2.0, 1.0, 0.5, 0.0])
    for limit in (0.9, 0.5, 0.2, 0.01, 1e-9):
        rank = low_rank.rank_for(values, limit)
        assert low_rank.error_at(values, rank) <= limit
        assert rank == 1 or low_rank.error_at(values, rank - 1) > limit


def test_a_product_that_is_zero_loses_nothing_and_stays_zero() -> None:
    a, b = matrices(16, 20, 20)
    values = low_rank.singular_values(a, 0 * b)
    assert (low_rank.error_at(values, 8), low_rank.rank_for(values, 0.1)) == (0.0, 1)
    low_a, low_b, _ = low_rank.cut(a, 0 * b, 1.0, 8)
    assert not (low_b @ low_a).any()


@pytest.mark.parametrize("size", [1e-25, 1e25])
def test_a_product_beyond_single_precision_keeps_its_error(size: float) -> None:
    a, b = matrices(16, 20, 20)
    usual = low_rank.error_at(low_rank.singular_values(a, b), 8)
    single = np.float32(size)
    assert low_rank.error_at(low_rank.singular_values(a * single, b * single), 8) == pytest.approx(
        usual, rel=1e-4
    )
