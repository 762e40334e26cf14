"""An adapter above the slots' rank is refused, or compressed as far as the operator allows."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from support import builders
from support.builders import Q, V
from veneer_adapters import errors
from veneer_adapters.artifact.checks import verify
from veneer_adapters.artifact.compression import MOST_RANK, Compression, compress
from veneer_adapters.artifact.manifest import BaseFacts, read_artifact
from veneer_adapters.doctor.doctor import examine
from veneer_adapters.sandbox.sandbox import Sandbox

WIDE = {Q: (48, 40), V: (48, 24)}
FACTS = BaseFacts("tiny", WIDE, max_rank=8, dtype="float32", compress=0.1)


def lowered(folder: Path, *, true_rank: int = 8, noise: float = 0.0, **config: object) -> Path:
    """Write an adapter of rank 16 whose products have ``true_rank``, beside some noise."""
    made = builders.tensors(WIDE, rank=16)
    for name, (dtype, values) in made.items():
        kept = values.copy()
        rows = kept if ".lora_A." in name else kept.T
        rows[true_rank:] *= noise
        made[name] = (dtype, kept)
    weights = builders.safetensors(made)
    return builders.write(folder, weights=weights, **{"r": 16, "lora_alpha": 16, **config})


def deltas(folder: Path) -> dict[str, np.ndarray]:
    values = safetensors.numpy.load_file(folder / "adapter_model.safetensors")
    artifact, prefix = read_artifact(folder), "base_model.model."
    return {
        module: artifact.config.scaling_of(module)
        * values[f"{prefix}{module}.lora_B.weight"].astype(np.float64)
        @ values[f"{prefix}{module}.lora_A.weight"]
        for module in artifact.pairs
    }


def compressed(folder: Path, out: Path, facts: BaseFacts = FACTS) -> Compression:
    out.mkdir()
    return compress(folder, out, facts)


SCALINGS = [
    ("plain", {}),
    ("rslora", {"use_rslora": True}),
    ("an alpha for each module", {"alpha_pattern": {"q_proj": 3}, "use_rslora": True}),
]


@pytest.mark.parametrize("config", [s[1] for s in SCALINGS], ids=[s[0] for s in SCALINGS])
def test_the_copy_has_the_slots_rank_and_the_same_product(
    tmp_path: Path, config: dict[str, object]
) -> None:
    folder = lowered(tmp_path / "in", **config)
    assert verify(folder, FACTS).rank == 16
    found = compressed(folder, tmp_path / "out")
    assert found.rank == 8
    assert found.error < 1e-6
    assert verify(tmp_path / "out", replace(FACTS, compress=None)).rank == 8
    ours, theirs = deltas(tmp_path / "out"), deltas(folder)
    assert ours.keys() == theirs.keys()
    assert all(np.allclose(ours[m], theirs[m], atol=1e-4) for m in ours)


def test_modules_of_ranks_of_their_own_are_served_with_their_own_products(tmp_path: Path) -> None:
    made = builders.tensors({Q: WIDE[Q]}, rank=8) | builders.tensors({V: WIDE[V]}, rank=12)
    folder = builders.write(
        tmp_path / "in",
        weights=builders.safetensors(made),
        r=8,
        rank_pattern={"v_proj": 12},
        use_rslora=True,
    )
    facts = replace(FACTS, compress=0.9)
    found = compressed(folder, tmp_path / "out", facts)
    ours, theirs = deltas(tmp_path / "out"), deltas(folder)
    assert np.allclose(ours[Q], theirs[Q], atol=1e-4)
    lost = np.linalg.norm(ours[V] - theirs[V]) / np.linalg.norm(theirs[V])
    assert found.error == pytest.approx(lost, rel=1e-3)


def test_what_would_be_lost_is_measured_and_is_that_of_the_files(tmp_path: Path) -> None:
    folder = lowered(tmp_path / "in", noise=0.2)
    found = compressed(folder, tmp_path / "out")
    ours, theirs = deltas(tmp_path / "out"), deltas(folder)
    lost = max(np.linalg.norm(ours[m] - theirs[m]) / np.linalg.norm(theirs[m]) for m in ours)
    assert 0 < found.error < 0.1
    assert found.error == pytest.approx(lost, rel=1e-3)


def test_what_would_lose_more_is_refused_with_the_loss_the_rank_and_the_settings(
    tmp_path: Path,
) -> None:
    folder = lowered(tmp_path, true_rank=13)
    with pytest.raises(errors.RankTooLarge) as refused:
        verify(folder, FACTS)
    said = str(refused.value)
    for part in ("rank 16", "rank 8", "would lose 0.", "allows 0.1", "adapters.max_rank"):
        assert part in said
    assert "It would take rank 1" in said
    needed = int(said.partition("It would take rank ")[2].partition(".")[0])
    assert 8 < needed <= 13


def test_without_the_setting_a_higher_rank_is_refused(tmp_path: Path) -> None:
    folder = lowered(tmp_path)
    with pytest.raises(errors.RankTooLarge, match=r"adapters\.max_rank"):
        verify(folder, replace(FACTS, compress=None))


def test_a_rank_that_takes_too_long_is_refused_before_anything_is_computed(tmp_path: Path) -> None:
    weights = builders.safetensors(builders.tensors(WIDE, rank=MOST_RANK + 1))
    folder = builders.write(tmp_path, weights=weights, r=MOST_RANK + 1)
    with pytest.raises(errors.RankTooLarge, match=f"up to {MOST_RANK}"):
        verify(folder, replace(FACTS, compress=0.9))


def test_a_copy_that_would_overflow_the_engines_dtype_is_refused(tmp_path: Path) -> None:
    made = builders.tensors(WIDE, rank=16)
    large = {name: (d, v * np.float32(6e3)) for name, (d, v) in made.items()}
    folder = builders.write(tmp_path, weights=builders.safetensors(large), r=16, lora_alpha=32)
    facts = replace(FACTS, compress=0.9, dtype="float16")
    with pytest.raises(errors.NonFinite, match="Compressed"):
        verify(folder, facts)


def test_the_doctor_says_what_is_lost_and_does_the_rest_as_ever(tmp_path: Path) -> None:
    folder = lowered(tmp_path / "in", noise=0.2)
    with Sandbox() as sandbox:
        report = sandbox.examine(folder, FACTS)
        (tmp_path / "out").mkdir()
        found = sandbox.compress(folder, tmp_path / "out", FACTS)
        assert sandbox.verify(folder, FACTS).rank == 16
    assert report.loads
    assert report.compression == found
    assert report == examine(folder, FACTS)
    refused = examine(folder, replace(FACTS, compress=0.001))
    assert (refused.reason, refused.compression) == ("rank_too_large", None)


def test_what_fits_is_not_compressed(tmp_path: Path) -> None:
    folder = builders.write(tmp_path)
    report = examine(folder, replace(builders.FACTS, compress=0.1))
    assert (report.loads, report.compression) == (True, None)
