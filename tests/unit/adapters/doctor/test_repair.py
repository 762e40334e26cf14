"""A repaired copy does what the adapter did, exactly or by a known error, or is not written."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from numpy.typing import NDArray

from support import builders, torch_files
from support.builders import Q, V
from support.checkpoints import checkpoint, layer
from veneer_adapters import errors
from veneer_adapters.artifact.checks import verify
from veneer_adapters.artifact.manifest import BaseFacts, read_artifact
from veneer_adapters.doctor import dora
from veneer_adapters.doctor.base_model import open_base
from veneer_adapters.doctor.doctor import examine
from veneer_adapters.sandbox.sandbox import Sandbox

FULL_RANK = BaseFacts("tiny", builders.MODULES, max_rank=16, dtype="float32")


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


def weights_of(folder: Path) -> dict[str, NDArray[Any]]:
    return dict(safetensors.numpy.load_file(folder / "adapter_model.safetensors"))


def deltas(folder: Path) -> dict[str, NDArray[np.float64]]:
    """What the adapter adds to each module, computed from its files."""
    values, artifact = weights_of(folder), read_artifact(folder)
    prefix = "base_model.model."
    return {
        module: artifact.config.scaling_of(module)
        * values[f"{prefix}{module}.lora_B.weight"].astype(np.float64)
        @ values[f"{prefix}{module}.lora_A.weight"]
        for module in artifact.pairs
    }


def test_a_pickle_becomes_safetensors_of_the_same_values(tmp_path: Path, sandbox: Sandbox) -> None:
    folder = builders.write(tmp_path / "in")
    expected = weights_of(folder)
    (folder / "adapter_model.safetensors").unlink()
    (folder / "adapter_model.bin").write_bytes(torch_files.torch_file(builders.tensors()))
    assert examine(folder, builders.FACTS).fixable
    repaired = sandbox.repair(folder, tmp_path / "out", builders.FACTS)
    assert repaired.error is None
    assert repaired.manifest == verify(tmp_path / "out", builders.FACTS)
    found = weights_of(tmp_path / "out")
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


def test_a_pickle_that_would_run_something_is_refused_and_nothing_is_written(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    folder = builders.write(tmp_path / "in")
    (folder / "adapter_model.safetensors").unlink()
    command = b"cos\nsystem\n(" + torch_files.text(f"touch {tmp_path}/ran") + b"tR"
    data = torch_files.archive(torch_files.program({"a": command}), {})
    (folder / "adapter_model.bin").write_bytes(data)
    with pytest.raises(errors.UnsafeFormat, match="would run"):
        sandbox.repair(folder, tmp_path / "out", builders.FACTS)
    assert os.listdir(tmp_path) == ["in"]


def test_modules_to_save_that_were_not_saved_are_dropped(tmp_path: Path, sandbox: Sandbox) -> None:
    folder = builders.write(tmp_path / "in", modules_to_save=["lm_head"])
    repaired = sandbox.repair(folder, tmp_path / "out", builders.FACTS)
    assert repaired.error is None
    assert "modules_to_save" in repaired.changes[0]
    assert np.array_equal(deltas(tmp_path / "out")[Q], deltas(builders.write(tmp_path / "x"))[Q])


def saved(values: NDArray[Any], name: str = "lm_head.weight") -> bytes:
    added = {f"base_model.model.{name}": ("BF16", values)}
    return builders.safetensors(builders.tensors() | added)


@pytest.mark.parametrize("name", ["lm_head.weight", "lm_head.modules_to_save.default.weight"])
def test_a_saved_module_that_equals_the_bases_is_dropped(
    tmp_path: Path, sandbox: Sandbox, name: str
) -> None:
    weights = saved(layer()["lm_head.weight"][1], name)
    folder = builders.write(tmp_path / "in", weights=weights, modules_to_save=["lm_head"])
    base = checkpoint(tmp_path / "base")
    repaired = sandbox.repair(folder, tmp_path / "out", builders.FACTS, base)
    assert repaired.error is None
    assert len(weights_of(tmp_path / "out")) == 4


def test_a_saved_module_that_was_trained_is_not_dropped(tmp_path: Path, sandbox: Sandbox) -> None:
    trained = layer()["lm_head.weight"][1].copy()
    trained[0, 0] += 1
    folder = builders.write(tmp_path / "in", weights=saved(trained), modules_to_save=["lm_head"])
    base = checkpoint(tmp_path / "base")
    with pytest.raises(errors.NotRepairable, match="was trained"):
        sandbox.repair(folder, tmp_path / "out", builders.FACTS, base)
    with pytest.raises(errors.NotRepairable, match="Only the base model can show"):
        sandbox.repair(folder, tmp_path / "out", builders.FACTS)
    assert not (tmp_path / "out").exists()


def test_the_name_of_the_adapter_in_its_tensors_is_taken_out(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    named = {
        name.replace(".weight", ".default.weight"): value
        for name, value in builders.tensors().items()
    }
    folder = builders.write(tmp_path / "in", weights=builders.safetensors(named))
    assert examine(folder, builders.FACTS).fixable
    sandbox.repair(folder, tmp_path / "out", builders.FACTS)
    assert set(weights_of(tmp_path / "out")) == set(builders.tensors())


WRAPPED = [
    ("base_model.", "_orig_mod.base_model."),
    ("base_model.", "module.base_model."),
    (".self_attn.", "._checkpoint_wrapped_module.self_attn."),
    ("base_model.model.", "base_model.model._fsdp_wrapped_module._orig_mod."),
]


@pytest.mark.parametrize(("plain", "wrapped"), WRAPPED)
def test_what_wrapped_the_model_in_training_is_taken_out_of_names(
    tmp_path: Path, sandbox: Sandbox, plain: str, wrapped: str
) -> None:
    named = {name.replace(plain, wrapped, 1): value for name, value in builders.tensors().items()}
    assert not named.keys() & builders.tensors().keys()
    folder = builders.write(tmp_path / "in", weights=builders.safetensors(named))
    assert examine(folder, builders.FACTS).fixable
    repaired = sandbox.repair(folder, tmp_path / "out", builders.FACTS)
    assert (repaired.error, set(weights_of(tmp_path / "out"))) == (None, set(builders.tensors()))


def test_two_adapters_in_one_file_are_not_made_one(tmp_path: Path, sandbox: Sandbox) -> None:
    named = {
        name.replace(".weight", f".{adapter}.weight"): value
        for name, value in builders.tensors().items()
        for adapter in ("one", "two")
    }
    folder = builders.write(tmp_path / "in", weights=builders.safetensors(named))
    with pytest.raises(errors.NotRepairable):
        sandbox.repair(folder, tmp_path / "out", builders.FACTS)


def test_double_precision_is_rounded_to_single(tmp_path: Path, sandbox: Sandbox) -> None:
    doubles = builders.tensors(dtype="F64")
    folder = builders.write(tmp_path / "in", weights=builders.safetensors(doubles))
    repaired = sandbox.repair(folder, tmp_path / "out", builders.FACTS)
    assert repaired.manifest.dtype == "F32"
    assert repaired.error is not None
    for name, found in weights_of(tmp_path / "out").items():
        assert np.allclose(found, doubles[name][1], rtol=repaired.error, atol=0)


def test_patterns_that_are_regular_expressions_are_written_out(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    tensors = builders.tensors({Q: (16, 16)}, rank=8) | builders.tensors({V: (16, 8)}, rank=2)
    folder = builders.write(
        tmp_path / "in",
        weights=builders.safetensors(tensors),
        r=2,
        rank_pattern={r"^model\.layers\.\d+\.self_attn\.q_proj": 8},
        alpha_pattern={"(q|k)_proj": 32, ".*": 6},
    )
    repaired = sandbox.repair(folder, tmp_path / "out", builders.FACTS)
    assert repaired.error is None
    config = read_artifact(tmp_path / "out").config
    assert (config.rank_of(Q), config.rank_of(V)) == (8, 2)
    assert (config.scaling_of(Q), config.scaling_of(V)) == (4.0, 3.0)


@pytest.mark.slow
def test_a_pattern_that_takes_for_ever_ends_with_the_process(tmp_path: Path) -> None:
    modules = {"a" * 40 + "!": (16, 16)}
    folder = builders.write(
        tmp_path / "in",
        weights=builders.safetensors(builders.tensors(modules)),
        rank_pattern={"(a+)+$": 4},
    )
    with Sandbox(repair_cpu_s=1) as sandbox, pytest.raises(errors.Unparsable):
        sandbox.repair(folder, tmp_path / "out", BaseFacts("echo", {}, 8))
    assert os.listdir(tmp_path) == ["in"]


def dora_adapter(folder: Path, stretch: float) -> Path:
    """A DoRA whose lengths are up to ``stretch`` off those of the changed weights."""
    rng = np.random.default_rng(3)
    tensors = builders.tensors()
    for module in builders.MODULES:
        lengths = np.linalg.norm(changed(module), axis=1)
        lengths *= 1 + stretch * rng.uniform(-1, 1, len(lengths))
        name = f"base_model.model.{module}.lora_magnitude_vector"
        tensors[name] = ("F32", lengths.astype(np.float32))
    return builders.write(folder, weights=builders.safetensors(tensors), use_dora=True)


def changed(module: str) -> NDArray[np.float64]:
    values = {name: value for name, (_, value) in builders.tensors().items()}
    a = values[f"base_model.model.{module}.lora_A.weight"].astype(np.float64)
    b = values[f"base_model.model.{module}.lora_B.weight"].astype(np.float64)
    return base_weight(module) + 2.0 * b @ a


def base_weight(module: str) -> NDArray[np.float64]:
    bits = layer()[f"{module}.weight"][1].astype(np.uint32) << np.uint32(16)
    return bits.view(np.float32).astype(np.float64)


def dora_delta(folder: Path, module: str) -> NDArray[np.float64]:
    """The formula of PEFT's ``DoraLinearLayer``: lengths times directions, less the base."""
    length = weights_of(folder)[f"base_model.model.{module}.lora_magnitude_vector"]
    whole = changed(module)
    return (length / np.linalg.norm(whole, axis=1))[:, None] * whole - base_weight(module)


@pytest.mark.parametrize(("facts", "stretch"), [(FULL_RANK, 0.3), (builders.FACTS, 0.05)])
def test_a_dora_is_folded_with_the_error_that_is_told(
    tmp_path: Path, sandbox: Sandbox, facts: BaseFacts, stretch: float
) -> None:
    folder = dora_adapter(tmp_path / "in", stretch)
    base = checkpoint(tmp_path / "base")
    repaired = sandbox.repair(folder, tmp_path / "out", facts, base)
    found = deltas(tmp_path / "out")
    wanted = {module: dora_delta(folder, module) for module in builders.MODULES}
    off = max(
        float(np.linalg.norm(found[m] - wanted[m]) / np.linalg.norm(wanted[m])) for m in wanted
    )
    assert repaired.error is not None
    assert off == pytest.approx(repaired.error, rel=0.01, abs=2e-3)
    assert repaired.manifest.rank <= facts.max_rank
    assert repaired.error < (0.01 if facts is FULL_RANK else 0.5)


def test_a_dora_that_cannot_be_folded_well_is_refused(tmp_path: Path, sandbox: Sandbox) -> None:
    folder = dora_adapter(tmp_path / "in", 0.5)
    facts = BaseFacts("tiny", builders.MODULES, max_rank=1, dtype="float32")
    with pytest.raises(errors.NotRepairable, match="would miss"):
        sandbox.repair(folder, tmp_path / "out", facts, checkpoint(tmp_path / "base"))
    with pytest.raises(errors.NotRepairable, match="only with its base"):
        sandbox.repair(folder, tmp_path / "out", builders.FACTS)


def test_the_error_of_a_fold_is_measured_also_where_it_is_sampled() -> None:
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((200, 300)).astype(np.float32)
    a = rng.standard_normal((4, 300)).astype(np.float32)
    b = rng.standard_normal((200, 4)).astype(np.float32)
    lengths = np.linalg.norm(weight + b @ a, axis=1) * rng.uniform(0.98, 1.02, 200)
    folded = dora.fold(weight, a, b, 1.0, lengths.astype(np.float32), 8)
    whole = weight + b @ a
    delta = (lengths / np.linalg.norm(whole, axis=1))[:, None] * whole - weight
    for rank in (1, 4, 8):
        left, right = folded.cut(rank)[1], folded.cut(rank)[0]
        off = np.linalg.norm(delta - left @ right) / np.linalg.norm(delta)
        assert folded.error(rank) == pytest.approx(float(off), rel=1e-3)
        best = np.linalg.svd(delta, compute_uv=False)
        least = np.sqrt(np.sum(best[rank:] ** 2)) / np.linalg.norm(delta)
        assert off == pytest.approx(float(least), rel=0.01)


def test_nothing_is_written_where_nothing_helps(tmp_path: Path, sandbox: Sandbox) -> None:
    folder = builders.write(tmp_path / "in", modules_to_save=["lm_head"], r=3)
    with pytest.raises(errors.NotRepairable, match="still fails"):
        sandbox.repair(folder, tmp_path / "out", builders.FACTS)
    assert os.listdir(tmp_path) == ["in"]


def test_what_loads_is_not_repaired(tmp_path: Path, sandbox: Sandbox) -> None:
    folder = builders.write(tmp_path / "in")
    with pytest.raises(errors.NotRepairable, match="nothing to repair"):
        sandbox.repair(folder, tmp_path / "out", builders.FACTS)


@pytest.mark.parametrize("there", ["a file", "a folder with something in it", "the input"])
def test_what_is_there_is_never_overwritten(tmp_path: Path, sandbox: Sandbox, there: str) -> None:
    folder = builders.write(tmp_path / "in", modules_to_save=["lm_head"])
    out = folder if there == "the input" else tmp_path / "out"
    if there == "a file":
        out.write_text("mine")
    elif there != "the input":
        out.mkdir()
        (out / "mine").touch()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    with pytest.raises(errors.NotRepairable, match="new or empty"):
        sandbox.repair(folder, out, builders.FACTS)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_an_empty_folder_is_filled(tmp_path: Path, sandbox: Sandbox) -> None:
    folder = builders.write(tmp_path / "in", modules_to_save=["lm_head"])
    before = (folder / "adapter_config.json").read_bytes()
    (tmp_path / "out").mkdir()
    sandbox.repair(folder, tmp_path / "out", builders.FACTS)
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["modules_to_save"] is None
    assert (folder / "adapter_config.json").read_bytes() == before


def test_a_base_that_cannot_be_read_is_no_fault_of_the_adapter(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    folder = builders.write(tmp_path / "in", use_dora=True)
    with pytest.raises(errors.BaseUnreadable):
        sandbox.repair(folder, tmp_path / "out", builders.FACTS, tmp_path / "no base")
    assert open_base(checkpoint(tmp_path / "base")).config
