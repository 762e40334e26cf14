"""An adapter's files against what a slot must hold, in float64 and with fresh random weights."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support import builders
from veneer_adapters.errors import AdapterRejected, Truncated
from veneer_server.engine.vllm.lora.pack import pack, round_to_bfloat16

STORED = {"float32": np.dtype(np.float32), "bfloat16": np.dtype(np.uint16)}


def as_float64(values: Any, bfloat16: bool) -> Any:
    if bfloat16:
        return (values.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    return values.astype(np.float64)


def nearest_bfloat16(numbers: Any) -> Any:
    """Return the nearer of the two neighbours in bfloat16, the even one in a tie; in float64."""
    below = (numbers.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    above = below + np.uint16(1)
    low, high = as_float64(below, True), as_float64(above, True)
    to_low, to_high = np.abs(numbers - low), np.abs(high - numbers)
    up = (to_high < to_low) | ((to_high == to_low) & (below % 2 == 1))
    return np.where(up, high, low)


@settings(max_examples=60, deadline=None)
@given(
    rank=st.integers(1, 64),
    alpha=st.sampled_from([1, 8, 13, 16.5]),
    dtype=st.sampled_from(["F32", "F16", "BF16"]),
    stored=st.sampled_from(["float32", "bfloat16"]),
    by_output=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_packed_weights_are_the_files_scaled_and_rounded_once(
    tmp_path_factory: pytest.TempPathFactory,
    rank: int,
    alpha: float,
    dtype: str,
    stored: str,
    by_output: bool,
    seed: int,
) -> None:
    made = builders.tensors(rank=rank, dtype=dtype, seed=seed)
    folder = builders.write(
        tmp_path_factory.mktemp("adapter"),
        weights=builders.safetensors(made),
        r=rank,
        lora_alpha=alpha,
    )
    packed = pack(folder, STORED[stored], by_output=by_output)
    assert packed.keys() == builders.MODULES.keys()
    for module, pair in packed.items():
        a, b = (
            as_float64(made[f"base_model.model.{module}.lora_{side}.weight"][1], dtype == "BF16")
            for side in "AB"
        )
        # The product is rounded to float32 first, as float32 arithmetic does.
        b = (b.T.astype(np.float32) * np.float32(alpha / rank)).astype(np.float64)
        if stored == "bfloat16":
            a, b = nearest_bfloat16(a), nearest_bfloat16(b)
        assert np.array_equal(as_float64(pair.a, stored == "bfloat16"), a)
        assert np.array_equal(as_float64(pair.b, stored == "bfloat16"), b)
        assert pair.a.flags.c_contiguous
        assert (pair.b.T if by_output else pair.b).flags.c_contiguous


def test_a_tie_between_two_bfloat16_goes_to_the_even_one() -> None:
    halfway = np.array([0x3F808000, 0x3F818000, 0xBF808000, 0x3F808001], np.uint32)
    into = np.empty(4, np.uint16)
    round_to_bfloat16(halfway.view(np.float32), np.empty(4, np.uint32), into)
    assert into.tolist() == [0x3F80, 0x3F82, 0xBF80, 0x3F81]


def test_packed_weights_do_not_depend_on_the_files_any_more(tmp_path: Path) -> None:
    folder = builders.write(tmp_path / "adapter")
    packed = pack(folder, STORED["float32"])
    before = {module: pair.a.copy() for module, pair in packed.items()}
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(bytes(weights.stat().st_size))
    assert all(np.array_equal(packed[module].a, a) for module, a in before.items())


def test_a_file_cut_short_after_it_was_published_is_refused(tmp_path: Path) -> None:
    folder = builders.write(tmp_path / "adapter")
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(Truncated):
        pack(folder, STORED["float32"])


def test_a_config_changed_after_it_was_published_is_refused(tmp_path: Path) -> None:
    folder = builders.write(tmp_path / "adapter")
    (folder / "adapter_config.json").write_text(json.dumps(builders.config(r=8)))
    with pytest.raises(AdapterRejected):
        pack(folder, STORED["float32"])


@pytest.mark.parametrize(("alpha", "bits"), [(2, 2), (4, 3), (8, 6), (3, 2)])
def test_the_smallest_bfloat16_are_rounded_to_even_like_all_others(
    tmp_path: Path, alpha: int, bits: int
) -> None:
    made = builders.tensors(rank=4, dtype="BF16")
    least = {name: (kind, values * 0 + np.uint16(3)) for name, (kind, values) in made.items()}
    weights = builders.safetensors(least)
    folder = builders.write(tmp_path / "adapter", weights=weights, r=4, lora_alpha=alpha)
    for pair in pack(folder, STORED["bfloat16"]).values():
        assert (pair.b == bits).all()
