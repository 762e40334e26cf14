"""What is read from the files, and every way the files can be wrong."""

import json
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import safetensors

from support import builders
from support.builders import Q, V
from veneer_adapters import errors
from veneer_adapters.artifact.checks import verify
from veneer_adapters.artifact.manifest import BaseFacts, read_artifact

UNSUPPORTED = [
    {"use_dora": True},
    {"bias": "all"},
    {"lora_bias": True},
    {"modules_to_save": ["lm_head"]},
    {"alora_invocation_tokens": [1]},
    {"layer_replication": [[0, 1]]},
    {"megatron_config": {"a": 1}},
    {"fan_in_fan_out": True},
    {"trainable_token_indices": [0]},
    {"target_parameters": ["experts"]},
    {"peft_type": "ADALORA"},
    {"use_qalora": True},
    {"init_lora_weights": "pissa"},
    {"init_lora_weights": "lora_ga", "lora_ga_config": {"direction": "ArB2r"}},
    {"init_lora_weights": "corda"},
    {"init_lora_weights": "olora"},
    {"init_lora_weights": "loftq"},
]

BAD_CONFIGS: list[tuple[str, dict[str, object]]] = [
    ("rank 0", {"r": 0}),
    ("rank -1", {"r": -1}),
    ("rank 1.5", {"r": 1.5}),
    ("rank as text", {"r": "8"}),
    ("rank true", {"r": True}),
    ("rank missing", {"r": None}),
    ("rank not that of the weights", {"r": 5}),
    ("alpha 0", {"lora_alpha": 0}),
    ("alpha -1", {"lora_alpha": -1}),
    ("alpha as text", {"lora_alpha": "16"}),
    ("alpha missing", {"lora_alpha": None}),
    ("a key no module could have", {"alpha_pattern": {"a" * 257: 4}}),
    ("a pattern without end", {"alpha_pattern": {f"m{n}": 4 for n in range(10_001)}}),
    ("no targets", {"target_modules": []}),
    ("targets missing", {"target_modules": None}),
    ("a pattern that is a regular expression", {"rank_pattern": {"(a+)+$": 4}}),
    ("a pattern with rank 0", {"rank_pattern": {"q_proj": 0}}),
    ("a pattern that is a list", {"rank_pattern": ["q_proj"]}),
    ("a pattern with alpha 0", {"alpha_pattern": {"q_proj": 0}}),
    ("rslora as text", {"use_rslora": "yes"}),
    ("an unprintable base", {"base_model_name_or_path": "a\nb"}),
    ("a base that is a number", {"base_model_name_or_path": 1}),
]

BAD_JSON = [
    ("empty", ""),
    ("not JSON", "{"),
    ("a list", "[]"),
    ("a duplicate key", '{"r": 4, "r": 4}'),
    ("NaN", '{"r": 4, "lora_alpha": NaN}'),
    ("a number beyond floats", '{"r": 4, "lora_alpha": 1e999}'),
    ("UTF-16", json.dumps(builders.config()).encode("utf-16")),
    ("nested deeply", "[" * 100_000 + "]" * 100_000),
    ("4301 digits", '{"r": ' + "9" * 4301 + "}"),
    ("over a MiB", " " * (1 << 20) + "{}"),
]


def test_the_facts_are_those_of_the_files(tmp_path: Path) -> None:
    folder = builders.write(tmp_path)
    manifest = read_artifact(folder).manifest
    assert (manifest.rank, manifest.alpha, manifest.modules) == (4, 8.0, 2)
    assert manifest.target_modules == ("q_proj", "v_proj")
    assert manifest.size_bytes == sum(file.stat().st_size for file in folder.iterdir())
    assert (manifest.base_name, manifest.dtype) == ("tiny", "F32")


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_a_plain_adapter_fits_its_base(tmp_path: Path, dtype: str) -> None:
    weights = builders.safetensors(builders.tensors(dtype=dtype))
    assert verify(builders.write(tmp_path, weights=weights), builders.FACTS).dtype == dtype


def test_without_a_base_model_shapes_are_not_compared(tmp_path: Path) -> None:
    weights = builders.safetensors(builders.tensors({"model.other": (3, 5)}))
    facts = BaseFacts("echo", {}, max_rank=8)
    assert verify(builders.write(tmp_path, weights=weights), facts).modules == 1


@pytest.mark.parametrize("overrides", UNSUPPORTED, ids=lambda o: "-".join(map(str, o)))
def test_a_feature_that_would_be_ignored_is_refused_by_name(
    tmp_path: Path, overrides: dict[str, object]
) -> None:
    folder = builders.write(tmp_path, **overrides)
    with pytest.raises(errors.UnsupportedFeature):
        read_artifact(folder)


@pytest.mark.parametrize("overrides", [c[1] for c in BAD_CONFIGS], ids=[c[0] for c in BAD_CONFIGS])
def test_an_impossible_config_is_refused(tmp_path: Path, overrides: dict[str, object]) -> None:
    folder = builders.write(tmp_path, **overrides)
    with pytest.raises(errors.InvalidConfig):
        read_artifact(folder)


@pytest.mark.parametrize("text", [c[1] for c in BAD_JSON], ids=[c[0] for c in BAD_JSON])
def test_a_config_that_is_not_strict_json_is_refused(tmp_path: Path, text: str | bytes) -> None:
    folder = builders.write(tmp_path, config_json=text)
    with pytest.raises(errors.InvalidConfig):
        read_artifact(folder)


@pytest.mark.parametrize("alpha", [1e39, 10**400])
def test_an_alpha_the_engine_cannot_represent_is_not_finite(tmp_path: Path, alpha: float) -> None:
    with pytest.raises(errors.NonFinite):
        read_artifact(builders.write(tmp_path, lora_alpha=alpha))


@pytest.mark.parametrize(
    "overrides",
    [{"lora_alpha": 4001}, {"alpha_pattern": {"q_proj": 4001}}, {"lora_alpha": 1e30}],
    ids=["for all", "for one module", "beyond all reason"],
)
def test_a_scaling_above_a_thousand_is_refused(
    tmp_path: Path, overrides: dict[str, object]
) -> None:
    folder = builders.write(tmp_path, **overrides)
    with pytest.raises(errors.InvalidConfig, match="scaled by"):
        verify(folder, builders.FACTS)


def test_a_scaling_of_a_thousand_is_accepted(tmp_path: Path) -> None:
    assert verify(builders.write(tmp_path, lora_alpha=4000), builders.FACTS).alpha == 4000


def test_the_rank_pattern_decides_per_module_and_the_largest_counts(tmp_path: Path) -> None:
    tensors = builders.tensors({Q: (16, 16)}, rank=8) | builders.tensors({V: (16, 8)}, rank=2)
    folder = builders.write(
        tmp_path,
        weights=builders.safetensors(tensors),
        r=2,
        rank_pattern={"q_proj": 8},
        alpha_pattern={"self_attn.v_proj": 6},
        use_rslora=True,
    )
    artifact = read_artifact(folder)
    assert artifact.manifest.rank == 8
    assert artifact.config.scaling_of(Q) == pytest.approx(8 / 8**0.5)
    assert artifact.config.scaling_of(V) == pytest.approx(6 / 2**0.5)
    verify(folder, builders.FACTS)


def test_a_rank_above_the_engines_is_refused(tmp_path: Path) -> None:
    weights = builders.safetensors(builders.tensors(rank=9))
    with pytest.raises(errors.RankTooLarge):
        verify(builders.write(tmp_path, weights=weights, r=9), builders.FACTS)


def test_a_rank_named_only_in_the_pattern_is_refused_as_the_engine_would(tmp_path: Path) -> None:
    folder = builders.write(tmp_path, rank_pattern={"nothing": 10**9})
    with pytest.raises(errors.RankTooLarge):
        verify(folder, builders.FACTS)


WRONG_BASE = [
    ("a smaller base", {Q: (8, 8), V: (8, 4)}, errors.BaseMismatch),
    ("one more layer", builders.MODULES | {"model.layers.9.q_proj": (16, 16)}, errors.BaseMismatch),
    ("only other names", {"model.h.0.attn": (16, 16)}, errors.NoEffect),
    ("no tensor at all", {}, errors.NoEffect),
]


@pytest.mark.parametrize(
    ("modules", "error"), [c[1:] for c in WRONG_BASE], ids=[c[0] for c in WRONG_BASE]
)
def test_an_adapter_of_another_base_is_refused(
    tmp_path: Path, modules: dict[str, tuple[int, int]], error: type[Exception]
) -> None:
    weights = builders.safetensors(builders.tensors(modules))
    with pytest.raises(error):
        verify(builders.write(tmp_path, weights=weights), builders.FACTS)


@pytest.mark.parametrize("name", ["lm_head", "model.embed_tokens"])
def test_embeddings_are_refused(tmp_path: Path, name: str) -> None:
    weights = builders.safetensors(builders.tensors({name: (16, 16)}))
    with pytest.raises(errors.UnsupportedFeature):
        verify(builders.write(tmp_path, weights=weights), builders.FACTS)


EXTRA_TENSORS = [
    (f"base_model.model.{Q}.lora_magnitude_vector", (16,)),
    (f"base_model.model.{Q}.lora_B.bias", (16,)),
    ("base_model.model.lm_head.weight", (16, 16)),
    (f"base_model.model.{Q}.base_layer.weight", (16, 16)),
    ("base_model.model.model.embed_tokens.lora_embedding_A", (4, 16)),
    (f"base_model.model.{Q}x.lora_A.weight", (4, 16, 3, 3)),
]


@pytest.mark.parametrize(("name", "shape"), EXTRA_TENSORS, ids=[n for n, _ in EXTRA_TENSORS])
def test_a_tensor_that_would_be_ignored_is_refused(
    tmp_path: Path, name: str, shape: tuple[int, ...]
) -> None:
    tensors = builders.tensors() | {name: ("F32", np.ones(shape, np.float32))}
    with pytest.raises(errors.UnsupportedFeature):
        read_artifact(builders.write(tmp_path, weights=builders.safetensors(tensors)))


def test_double_precision_is_refused(tmp_path: Path) -> None:
    weights = builders.safetensors(builders.tensors(dtype="F64"))
    with pytest.raises(errors.UnsupportedFeature):
        read_artifact(builders.write(tmp_path, weights=weights))


def test_half_a_pair_is_refused(tmp_path: Path) -> None:
    tensors = builders.tensors()
    del tensors[f"base_model.model.{V}.lora_B.weight"]
    with pytest.raises(errors.InvalidTensors, match="v_proj"):
        read_artifact(builders.write(tmp_path, weights=builders.safetensors(tensors)))


def test_a_pair_whose_ranks_differ_is_refused(tmp_path: Path) -> None:
    tensors = builders.tensors()
    tensors[f"base_model.model.{V}.lora_B.weight"] = ("F32", np.ones((8, 3), np.float32))
    with pytest.raises(errors.InvalidTensors):
        read_artifact(builders.write(tmp_path, weights=builders.safetensors(tensors)))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("side", ["A", "B"])
def test_one_value_that_is_not_finite_is_enough(
    tmp_path: Path, value: float, dtype: str, side: str
) -> None:
    tensors = builders.tensors(dtype=dtype)
    name = f"base_model.model.{V}.lora_{side}.weight"
    values = tensors[name][1].copy()
    values.flat[-1] = builders.as_dtype(np.array([value], np.float32), dtype)[0]
    tensors[name] = (dtype, values)
    with pytest.raises(errors.NonFinite):
        verify(
            builders.write(tmp_path, weights=builders.safetensors(tensors)),
            builders.FACTS,
        )


TOO_LARGE_FOR = [
    ("float16", 1e5, {}),
    ("bfloat16", 3.4e38, {}),
    ("float32", 3e38, {"lora_alpha": 64}),
]


@pytest.mark.parametrize(("dtype", "value", "overrides"), TOO_LARGE_FOR)
def test_a_value_that_overflows_in_the_engines_dtype_is_not_finite(
    tmp_path: Path, dtype: str, value: float, overrides: dict[str, object]
) -> None:
    tensors = builders.tensors()
    name = f"base_model.model.{V}.lora_B.weight"
    tensors[name] = ("F32", np.full((8, 4), value, np.float32))
    folder = builders.write(tmp_path, weights=builders.safetensors(tensors), **overrides)
    with pytest.raises(errors.NonFinite):
        verify(folder, BaseFacts("tiny", builders.MODULES, 8, dtype))


def test_an_adapter_that_was_never_trained_has_no_effect(tmp_path: Path) -> None:
    tensors = builders.tensors()
    for name, (dtype, values) in tensors.items():
        if ".lora_B." in name:
            tensors[name] = (dtype, values * -0.0)
    with pytest.raises(errors.NoEffect):
        verify(
            builders.write(tmp_path, weights=builders.safetensors(tensors)),
            builders.FACTS,
        )


def test_a_pickle_is_never_an_adapter(tmp_path: Path) -> None:
    folder = builders.write(tmp_path)
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(errors.UnsafeFormat):
        read_artifact(folder)


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_both_files_must_be_there(tmp_path: Path, name: str) -> None:
    (builders.write(tmp_path) / name).unlink()
    with pytest.raises(errors.MissingFile, match=name):
        read_artifact(tmp_path)


def test_added_embeddings_beside_the_weights_are_refused(tmp_path: Path) -> None:
    (builders.write(tmp_path) / "new_embeddings.safetensors").touch()
    with pytest.raises(errors.UnsupportedFeature):
        read_artifact(tmp_path)


WEIGHTS = builders.safetensors(builders.tensors())


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 100, len(WEIGHTS) - 1])
def test_weights_cut_anywhere_are_truncated(tmp_path: Path, size: int) -> None:
    with pytest.raises(errors.Truncated):
        read_artifact(builders.write(tmp_path, weights=WEIGHTS[:size]))


def with_header(text: str, body: bytes = b"") -> bytes:
    return struct.pack("<Q", len(text)) + text.encode() + body


ENTRY = '{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
BAD_HEADERS = [
    ("not JSON", with_header("{")),
    ("a list", with_header("[]")),
    ("leading space", with_header(f' {{"a":{ENTRY}}}', b"0000")),
    ("a duplicate key", with_header(f'{{"a":{ENTRY},"a":{ENTRY}}}', b"0000")),
    ("bytes left over", WEIGHTS + b"0"),
    ("a gap", with_header('{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}', b"0" * 8)),
    ("an overlap", with_header(f'{{"a":{ENTRY},"b":{ENTRY}}}', b"0000")),
    ("a negative size", with_header(f'{{"a":{ENTRY.replace("[1]", "[-1]")}}}', b"0000")),
    ("a size true", with_header(f'{{"a":{ENTRY.replace("[1]", "[true]")}}}', b"0000")),
    ("a huge size", with_header(f'{{"a":{ENTRY.replace("[1]", "[4611686018427387905]")}}}')),
    ("a size that does not fit", with_header(f'{{"a":{ENTRY.replace("[1]", "[2]")}}}', b"0000")),
    ("no dtype", with_header('{"a":{"shape":[1],"data_offsets":[0,4]}}', b"0000")),
    ("metadata that is no map", with_header(f'{{"__metadata__":1,"a":{ENTRY}}}', b"0000")),
    ("metadata not of text", with_header(f'{{"__metadata__":{{"b":1}},"a":{ENTRY}}}', b"0000")),
    ("nested deeply", with_header('{"a":' + "[" * 100_000)),
]


@pytest.mark.parametrize("weights", [c[1] for c in BAD_HEADERS], ids=[c[0] for c in BAD_HEADERS])
def test_a_header_the_format_does_not_allow_is_refused(tmp_path: Path, weights: bytes) -> None:
    with pytest.raises(errors.InvalidTensors):
        read_artifact(builders.write(tmp_path, weights=weights))


def test_a_header_said_to_be_enormous_is_not_read(tmp_path: Path) -> None:
    folder = builders.write(tmp_path, weights=struct.pack("<Q", 100_000_001))
    # Sparse: the size is there, the bytes are not.
    os.truncate(folder / "adapter_model.safetensors", 200_000_000)
    with pytest.raises(errors.InvalidTensors, match="header is larger"):
        read_artifact(folder)


def test_what_the_builder_writes_is_what_the_library_reads(tmp_path: Path) -> None:
    weights = builders.write(tmp_path) / "adapter_model.safetensors"
    with safetensors.safe_open(weights, framework="np") as file:
        assert set(file.keys()) == set(builders.tensors())
