"""Adapters as other programs than PEFT write them: whose they are, and what to do."""

import json
from pathlib import Path

import pytest

from support import builders
from veneer_adapters.artifact.checks import verify
from veneer_adapters.doctor.doctor import examine
from veneer_adapters.doctor.repair import repair
from veneer_adapters.errors import InvalidConfig, MissingFile

MLX = {"fine_tune_type": "lora", "num_layers": 16, "lora_parameters": {"rank": 8, "scale": 20.0}}


def test_a_folder_of_mlx_is_told_to_be_one(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps(MLX))
    (tmp_path / "adapters.safetensors").write_bytes(b"")
    with pytest.raises(MissingFile, match=r"is MLX's .*convert it to PEFT"):
        verify(tmp_path, builders.FACTS)
    report = examine(tmp_path, builders.FACTS)
    assert report.problems[0].reason == "missing_file"
    assert "MLX" in report.problems[0].message


def test_a_pattern_that_matches_modules_is_told_to_be_one_and_can_be_written_out(
    tmp_path: Path,
) -> None:
    # As axolotl takes them for `rank_pattern`; it matches both modules.
    pattern = {r"model\.layers\.0\.self_attn\.(q|v)_proj": 4}
    folder = builders.write(tmp_path / "a", r=8, rank_pattern=pattern)
    with pytest.raises(InvalidConfig, match="a pattern and not the plain name") as caught:
        verify(folder, builders.FACTS)
    assert "write out the modules that it matches" in str(caught.value)
    assert "not a module" not in str(caught.value)
    report = examine(folder, builders.FACTS)
    assert any("Write out the module names" in fix for fix in report.fixable)
    (tmp_path / "b").mkdir()
    repair(folder, tmp_path / "b", builders.FACTS, None)
    assert verify(tmp_path / "b", builders.FACTS).modules == 2


def test_nothing_is_said_of_the_modules_that_a_pattern_in_target_modules_stands_for(
    tmp_path: Path,
) -> None:
    targets = [r"self_attn\.(q|v)_proj", "o_proj"]
    report = examine(builders.write(tmp_path, target_modules=targets), builders.FACTS)
    assert report.loads
    assert [line for line in report.ignored if "target_modules" in line] == [
        "`target_modules` names `o_proj`, for which there are no weights."
    ]
