"""Adapters made for the bench are ones that a server takes."""

import json
from pathlib import Path

import numpy as np
import pytest

from veneer_adapters.artifact.checks import verify
from veneer_adapters.artifact.manifest import BaseFacts
from veneer_server.bench.peers.adapters import Shape, Shelf, place, shape_of, to_bfloat16
from veneer_server.bench.peers.peers import TARGETS

CONFIG = {
    "hidden_size": 16,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
}


@pytest.fixture
def shape(tmp_path: Path) -> Shape:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    return shape_of(tmp_path)


@pytest.fixture
def shelf(tmp_path: Path, shape: Shape) -> Shelf:
    return Shelf(tmp_path / "shelf", shape)


def facts(shape: Shape) -> BaseFacts:
    modules = {
        f"model.layers.{layer}.{path}": size
        for layer in range(shape.layers)
        for path, size in shape.modules.items()
    }
    return BaseFacts(name="tiny", modules=modules, max_rank=64, dtype="bfloat16")


def test_shapes_follow_the_model(shape: Shape) -> None:
    assert shape.modules["self_attn.k_proj"] == (16, 8)
    assert shape.modules["mlp.down_proj"] == (32, 16)
    assert [path.split(".")[1] for path in shape.modules] == list(TARGETS)


def test_every_kind_of_adapter_passes_our_own_verification(shelf: Shelf, shape: Shape) -> None:
    shelf.take(["a0"], 4)
    shelf.take_tiny(["tiny0"])
    shelf.take_alike(["big0", "big1"], 8)
    found = {n: verify(shelf.folder / n, facts(shape)) for n in ("a0", "tiny0", "big0", "big1")}
    assert {name: manifest.rank for name, manifest in found.items()} == {
        "a0": 4,
        "tiny0": 1,
        "big0": 8,
        "big1": 8,
    }


def test_two_adapters_never_have_the_same_bytes(shelf: Shelf) -> None:
    shelf.take(["a0", "a1"], 4)
    shelf.take_alike(["big0", "big1"], 4)
    for first, second, file in (
        ("a0", "a1", "adapter_model.safetensors"),
        ("big0", "big1", "adapter_config.json"),
    ):
        read = [(shelf.folder / name / file).read_bytes() for name in (first, second)]
        assert read[0] != read[1]


def test_an_adapter_is_written_once(shelf: Shelf) -> None:
    shelf.take(["a0"], 4)
    before = (shelf.folder / "a0" / "adapter_model.safetensors").stat()
    shelf.take(["a0"], 4)
    assert (shelf.folder / "a0" / "adapter_model.safetensors").stat() == before


def test_placing_copies_no_bytes(shelf: Shelf, tmp_path: Path) -> None:
    shelf.take(["a0"], 4)
    (tmp_path / "served").mkdir()
    place(shelf.folder, tmp_path / "served", ["a0"])
    weights = "a0/adapter_model.safetensors"
    assert (tmp_path / "served" / weights).samefile(shelf.folder / weights)


def test_bfloat16_keeps_the_upper_half_of_a_float() -> None:
    bits = to_bfloat16(np.array([1.0, -2.0], dtype=np.float32))
    assert bits.tolist() == [0x3F80, 0xC000]
