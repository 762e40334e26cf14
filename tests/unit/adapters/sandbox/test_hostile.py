"""Files made to hurt: each is refused with a reason, or is what an independent reader says."""

import json
import os
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support import builders
from support.builders import Q, V
from veneer_adapters import errors
from veneer_adapters.artifact.checks import verify
from veneer_adapters.artifact.manifest import read_artifact
from veneer_adapters.doctor.doctor import examine
from veneer_adapters.sandbox.confinement import Limits
from veneer_adapters.sandbox.sandbox import Sandbox

pytestmark = pytest.mark.slow

bounded: Any = settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
REASONS = {leaf.reason for leaf in errors.AdapterRejected.__subclasses__()}
WEIGHTS = builders.safetensors(builders.tensors())
HEADER_BYTES = struct.unpack("<Q", WEIGHTS[:8])[0]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    # Two seconds of processor time: what needs more is refused as unparsable, not as itself.
    with Sandbox(limits=Limits(cpu_s=2)) as running:
        yield running


def is_fine(folder: Path) -> bool:
    """Whether the safetensors library and numpy see finite values of a known effect."""
    with safetensors.safe_open(folder / "adapter_model.safetensors", framework="np") as file:
        values = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    return (
        set(values) == set(builders.tensors())
        and all(np.isfinite(value).all() for value in values.values())
        and any(values[f"base_model.model.{m}.lora_B.weight"].any() for m in (Q, V))
    )


def refusal_of(sandbox: Sandbox, folder: Path) -> errors.AdapterRejected | None:
    try:
        assert sandbox.verify(folder, builders.FACTS).rank <= builders.FACTS.max_rank
    except errors.AdapterRejected as refused:
        return refused
    return None


def assert_judged(sandbox: Sandbox, folder: Path) -> None:
    refused = refusal_of(sandbox, folder)
    # The doctor, which goes on after the first fault, comes to the same verdict.
    assert examine(folder, builders.FACTS).reason == (refused.reason if refused else None)
    if refused is None:
        assert is_fine(folder)
        return
    # Unparsable would mean that the reader crashed or ran into a limit.
    assert refused.reason in REASONS - {errors.Unparsable.reason}
    assert str(refused).isprintable()
    assert str(folder) not in str(refused)


def cut(at: int, new: bytes, length: int) -> bytes:
    return WEIGHTS[:at] + new + WEIGHTS[at + length :]


bytes_changed = st.builds(
    cut, st.integers(0, len(WEIGHTS) - 1), st.binary(max_size=12), st.integers(0, 12)
)
cut_short = st.integers(0, len(WEIGHTS)).map(lambda size: WEIGHTS[:size])
random_bytes = st.binary(max_size=200)


def with_entry(name: str, key: str, value: Any, rename: str | None) -> bytes:
    header = json.loads(WEIGHTS[8 : 8 + HEADER_BYTES])
    header[name][key] = value
    if rename is not None:
        header[rename] = header.pop(name)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + WEIGHTS[8 + HEADER_BYTES :]


numbers = st.integers(-1, 40) | st.sampled_from([2**31, 2**48, 2**63, 2**64])
entry_changed = st.builds(
    with_entry,
    st.sampled_from(sorted(builders.tensors())),
    st.sampled_from(["dtype", "shape", "data_offsets", "extra"]),
    st.lists(numbers, max_size=3)
    | st.sampled_from(["F16", "BF16", "F64", "I8", "F4", "", None, 1.5, True, {"a": 1}]),
    st.none() | st.text(max_size=8) | st.sampled_from([f"{Q}.lora_A.weight", "__metadata__"]),
)


def with_value(name: str, at: int, value: float) -> bytes:
    tensors = builders.tensors()
    values = tensors[name][1].copy()
    values.flat[at % values.size] = value
    return builders.safetensors(tensors | {name: ("F32", values)})


value_changed = st.builds(
    with_value,
    st.sampled_from(sorted(builders.tensors())),
    st.integers(0, 1000),
    st.floats(width=32),
)


@bounded
@given(bytes_changed | cut_short | random_bytes | entry_changed | value_changed)
def test_mutated_weights_are_refused_with_a_reason_or_are_fine(
    tmp_path: Path, sandbox: Sandbox, weights: bytes
) -> None:
    assert_judged(sandbox, builders.write(tmp_path, weights=weights))


def containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    keys = st.text(max_size=5)
    return st.lists(inner, max_size=2) | st.dictionaries(keys, inner, max_size=2)


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
anything = st.recursive(scalars, containers, max_leaves=4)
fields = st.dictionaries(
    st.sampled_from([*sorted(builders.config()), "use_rslora", "init_lora_weights", "new_field"]),
    anything | st.sampled_from([-1, 0, 1.5, "8", True, 1e9, 10**30, "pissa", {"(a+)+$": 4}]),
    max_size=4,
)


@bounded
@given(fields.map(lambda changed: json.dumps(builders.config(**changed))) | st.text(max_size=30))
def test_a_hostile_config_is_refused_with_a_reason_or_harmless(
    tmp_path: Path, sandbox: Sandbox, text: str
) -> None:
    raw = text.encode("utf-8", "surrogatepass")
    assert_judged(sandbox, builders.write(tmp_path, config_json=raw))


def config_with(field: str, text: str) -> str:
    return json.dumps(builders.config(**{field: "HERE"})).replace('"HERE"', text)


BOMBS = [
    ("a key that backtracks for ever", config_with("rank_pattern", '{"(a+)+$": 4}')),
    ("a key of nested stars", config_with("alpha_pattern", '{"((.*)*)*x": 4}')),
    ("100 MB", config_with("alpha_pattern", '"' + "x" * 100_000_000 + '"')),
    ("lists in lists, 100,000 deep", config_with("auto_mapping", "[" * 10**5 + "]" * 10**5)),
    ("objects in objects, 100,000 deep", '{"a":' * 10**5 + "1" + "}" * 10**5),
    ("the same key twice", '{"r": 4, "r": 8}'),
    ("a number of a million digits", config_with("r", "9" * 10**6)),
]


@pytest.mark.parametrize("text", [c[1] for c in BOMBS], ids=[c[0] for c in BOMBS])
def test_a_bomb_in_the_config_is_refused_for_what_it_is_in_two_seconds_of_processor(
    tmp_path: Path, sandbox: Sandbox, text: str
) -> None:
    with pytest.raises(errors.InvalidConfig):
        sandbox.verify(builders.write(tmp_path, config_json=text), builders.FACTS)


def test_as_many_keys_as_a_pattern_may_have_are_matched_in_time(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    keys = {f"model.layers.{n}.self_attn.x_proj": 4 for n in range(10_000)}
    folder = builders.write(tmp_path, alpha_pattern=keys)
    assert sandbox.verify(folder, builders.FACTS).modules == 2


@pytest.mark.parametrize("rank", [0, -1, 1.5, "8", True, 1e9, 10**9])
def test_a_rank_that_is_none_is_refused(tmp_path: Path, sandbox: Sandbox, rank: object) -> None:
    with pytest.raises((errors.InvalidConfig, errors.RankTooLarge)):
        sandbox.verify(builders.write(tmp_path, r=rank), builders.FACTS)


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def link_to_a_file_elsewhere(path: Path) -> None:
    path.symlink_to("/etc/passwd")


def link_to_a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def make_folder(path: Path) -> None:
    path.mkdir()


SPECIAL = [make_pipe, link_to_a_file_elsewhere, link_to_a_device, make_folder]


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
@pytest.mark.parametrize("make", SPECIAL)
def test_what_is_no_regular_file_of_the_folder_is_refused_unread(
    tmp_path: Path, sandbox: Sandbox, name: str, make: Callable[[Path], None]
) -> None:
    folder = builders.write(tmp_path / "adapter")
    (folder / name).unlink()
    make(folder / name)
    with pytest.raises(errors.PathNotAllowed):
        sandbox.verify(folder, builders.FACTS)
    assert "path_not_allowed" in {
        p.reason for p in sandbox.examine(folder, builders.FACTS).problems
    }


opened: list[str] | None = None


def note_opened(event: str, arguments: tuple[Any, ...]) -> None:
    # An int is a descriptor that is already open.
    if event == "open" and opened is not None and not isinstance(arguments[0], int):
        opened.append(str(arguments[0]))


def test_nothing_outside_the_folder_is_opened(tmp_path: Path) -> None:
    global opened  # noqa: PLW0603 - an audit hook cannot be removed, only told to stop
    folder = builders.write(tmp_path / "adapter")
    (folder / "adapter_model.safetensors").unlink()
    link_to_a_file_elsewhere(folder / "adapter_model.safetensors")
    sys.addaudithook(note_opened)
    opened = []
    try:
        with pytest.raises(errors.PathNotAllowed):
            verify(folder, builders.FACTS)
        seen = list(opened)
    finally:
        opened = None
    # A file is opened by its name from the descriptor of its folder.
    assert set(seen) == {str(folder), "adapter_config.json"}


def test_a_sparse_file_of_256_gigabytes_is_refused_by_its_header(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    folder = builders.write(tmp_path)
    os.truncate(folder / "adapter_model.safetensors", 256 << 30)
    with pytest.raises(errors.InvalidTensors):
        sandbox.verify(folder, builders.FACTS)


def test_a_header_that_claims_256_gigabytes_is_refused_by_its_shapes(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    columns = 1 << 36
    shapes = {"A": [1, columns], "B": [16, 1]}
    header, at = {}, 0
    for side, shape in shapes.items():
        size = 4 * shape[0] * shape[1]
        header[f"{Q}.lora_{side}.weight"] = {
            "dtype": "F32",
            "shape": shape,
            "data_offsets": [at, at + size],
        }
        at += size
    text = json.dumps(header).encode()
    folder = builders.write(tmp_path, weights=struct.pack("<Q", len(text)) + text, r=1)
    os.truncate(folder / "adapter_model.safetensors", 8 + len(text) + at)
    assert read_artifact(folder).manifest.rank == 1
    with pytest.raises(errors.BaseMismatch):
        sandbox.verify(folder, builders.FACTS)
