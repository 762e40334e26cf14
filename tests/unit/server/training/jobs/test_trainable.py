"""What a server trains with: the precision that its processor is fast in."""

from typing import Literal

import pytest

from veneer_server.training.jobs.trainable import to_precision

NEW, OLD = frozenset({"avx512f", "avx512_bf16"}), frozenset({"avx512f"})


@pytest.mark.parametrize(
    ("asked", "device", "instructions", "expected"),
    [
        ("auto", "cpu", NEW, "bf16"),
        ("auto", "cpu", OLD, "fp32"),
        ("auto", "cuda:1", OLD, "bf16"),
        ("bf16", "cpu", OLD, "bf16"),
        ("fp32", "cpu", NEW, "fp32"),
    ],
)
def test_the_trainer_multiplies_in_what_was_asked_or_what_is_fast(
    asked: Literal["auto", "bf16", "fp32"],
    device: str,
    instructions: frozenset[str],
    expected: str,
) -> None:
    assert to_precision(asked, device, instructions) == expected
