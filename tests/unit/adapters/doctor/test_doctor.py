"""The doctor names every problem it can see, and what nobody would notice otherwise."""

import json
from pathlib import Path

import numpy as np
import pytest

from support import builders
from support.builders import Q, V
from support.places import REPOSITORY
from veneer_adapters.artifact.checks import verify
from veneer_adapters.artifact.manifest import BaseFacts
from veneer_adapters.doctor.doctor import examine
from veneer_adapters.errors import AdapterRejected
from veneer_adapters.sandbox.sandbox import Sandbox

WEIGHTS = builders.safetensors(builders.tensors())


def test_a_good_adapter_loads_and_its_facts_are_told(tmp_path: Path) -> None:
    report = examine(builders.write(tmp_path), builders.FACTS)
    assert report.loads
    assert (report.reason, report.problems, report.warnings) == (None, (), ())
    assert (report.ignored, report.advice, report.fixable) == ((), (), ())
    found = report.facts
    assert (found.rank, found.alpha, found.scaling, found.dtype) == (4, 8.0, 2.0, "F32")
    assert (found.modules, found.matched, found.base_modules) == (2, 2, 2)
    assert found.size_bytes == sum(file.stat().st_size for file in tmp_path.iterdir())


def test_a_slot_costs_the_largest_rank_and_a_copy_its_own(tmp_path: Path) -> None:
    cost = examine(builders.write(tmp_path), builders.FACTS).cost
    features = 16 + 16 + 16 + 8
    assert cost.device_slot_bytes == 4 * 8 * features
    assert cost.host_copy_bytes == 4 * 4 * features


def test_without_a_base_nothing_is_said_of_it(tmp_path: Path) -> None:
    report = examine(builders.write(tmp_path), BaseFacts("echo", {}, 8))
    assert report.loads
    assert (report.facts.matched, report.cost.device_slot_bytes) == (None, None)
    assert report.base.fingerprint is None


def test_every_problem_is_named_not_only_the_first(tmp_path: Path) -> None:
    tensors = builders.tensors({Q: (8, 16), "model.x": (4, 4)})
    tensors["base_model.model.lm_head.weight"] = ("F32", np.ones((2, 2), np.float32))
    folder = builders.write(
        tmp_path,
        weights=builders.safetensors(tensors),
        use_dora=True,
        bias="all",
        lora_alpha="8",
        rank_pattern={"(a+)+$": 4},
    )
    found = [
        (problem.reason, problem.message) for problem in examine(folder, builders.FACTS).problems
    ]
    said = " ".join(message for _, message in found)
    assert {reason for reason, _ in found} == {
        "unsupported_feature",
        "invalid_config",
        "base_mismatch",
    }
    for part in ("use_dora", "bias", "lora_alpha", "(a+)+$", "lm_head", "model.x", "q_proj"):
        assert part in said


def test_the_same_problem_of_many_modules_is_counted(tmp_path: Path) -> None:
    modules = {f"model.layers.{n}.q_proj": (16, 16) for n in range(40)}
    folder = builders.write(
        tmp_path, weights=builders.safetensors(builders.tensors({Q: (16, 16)} | modules))
    )
    problems = examine(folder, builders.FACTS).problems
    assert [problem.more for problem in problems] == [0, 0, 37]


SPOILT: list[dict[str, object]] = [
    {"weights": WEIGHTS[:-1]},
    {"weights": b""},
    {"weights": WEIGHTS + b"0"},
    {"weights": builders.safetensors({})},
    {"config_json": "{"},
    {"config_json": "[]"},
    {"config_json": "{}"},
    {"r": 5},
    {"r": 0},
    {"rank_pattern": {"x": 9}},
    {"lora_alpha": 1e39},
    {"lora_alpha": 1e9},
    {"use_dora": True},
    {"weights": builders.safetensors(builders.tensors({Q: (8, 16)}))},
    {"weights": builders.safetensors(builders.tensors({"model.x": (8, 16)}))},
    {"weights": builders.safetensors(builders.tensors(dtype="F64"))},
]


@pytest.mark.parametrize("overrides", SPOILT, ids="-".join)
def test_the_first_problem_is_the_one_the_server_would_name(
    tmp_path: Path, overrides: dict[str, object]
) -> None:
    folder = builders.write(tmp_path, **overrides)  # type: ignore[arg-type]
    with pytest.raises(AdapterRejected) as refused:
        verify(folder, builders.FACTS)
    report = examine(folder, builders.FACTS)
    assert not report.loads
    assert (report.reason, report.problems[0].message) == (refused.value.reason, str(refused.value))
    assert report.advice


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_what_is_left_of_an_adapter_is_examined_all_the_same(tmp_path: Path, name: str) -> None:
    folder = builders.write(tmp_path, lora_alpha=None)
    (folder / name).unlink()
    report = examine(folder, builders.FACTS)
    assert report.reason == "missing_file"
    assert report.facts.rank == (4 if name == "adapter_config.json" else None)


def test_a_folder_that_is_no_adapter_says_so(tmp_path: Path) -> None:
    assert examine(tmp_path, builders.FACTS).reason == "missing_file"


def test_what_would_have_no_effect_is_told(tmp_path: Path) -> None:
    tensors = builders.tensors()
    tensors[f"base_model.model.{V}.lora_B.weight"] = ("F32", np.zeros((8, 4), np.float32))
    folder = builders.write(
        tmp_path,
        weights=builders.safetensors(tensors),
        peft_future="x",
        alpha_pattern={"k_proj": 4},
        target_modules=["q_proj", "v_proj", "gate_proj"],
    )
    (folder / "tokenizer.json").touch()
    report = examine(folder, builders.FACTS)
    assert report.loads
    said = " ".join(report.ignored)
    for part in ("`peft_future`", "alpha_pattern", "`gate_proj`", "1 of 2", "`tokenizer.json`"):
        assert part in said
    assert len(report.ignored) == 5


def test_no_field_that_peft_writes_today_is_unknown(tmp_path: Path) -> None:
    demo = REPOSITORY / "adapters" / "demo" / "pirate"
    assert examine(demo, BaseFacts("echo", {}, 64)).ignored == ()


def test_another_base_of_the_same_shapes_is_a_warning(tmp_path: Path) -> None:
    folder = builders.write(tmp_path, base_model_name_or_path="someone/else")
    report = examine(folder, builders.FACTS)
    assert report.loads
    assert "`someone/else`" in report.warnings[0]
    same = builders.write(tmp_path / "same", base_model_name_or_path="/home/me/models/Tiny/")
    assert examine(same, builders.FACTS).warnings == ()


def test_a_rank_too_large_is_told_the_setting_that_would_do(tmp_path: Path) -> None:
    weights = builders.safetensors(builders.tensors(rank=9))
    report = examine(builders.write(tmp_path, weights=weights, r=9), builders.FACTS)
    assert report.reason == "rank_too_large"
    assert "`adapters.max_rank: 16`" in report.advice[0]


def test_the_report_is_json_with_the_reason_on_top(tmp_path: Path) -> None:
    report = examine(builders.write(tmp_path, use_dora=True), builders.FACTS)
    document = json.loads(report.to_json())
    assert (document["reason"], document["loads"]) == ("unsupported_feature", False)
    assert document["problems"][0]["message"]
    assert document["fixable"]


def test_the_report_of_the_sandbox_is_the_same(tmp_path: Path) -> None:
    folder = builders.write(tmp_path, use_dora=True, rank_pattern={"x": 9})
    with Sandbox() as sandbox:
        assert sandbox.examine(folder, builders.FACTS) == examine(folder, builders.FACTS)
