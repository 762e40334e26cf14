"""What a base model's folder says of its dtype and of the memory that it needs."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support import builders
from support.checkpoints import checkpoint, layer
from veneer_server.engine.sizing.shapes import read_base

WIDE = {"model.x.weight": ("F32", np.ones((4, 4), np.float32))}
LLAMA = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
}
STORED: list[tuple[builders.Tensors, dict[str, Any], str]] = [
    (layer(), {"dtype": "bfloat16"}, "bfloat16"),
    (layer(), {"dtype": "float16"}, "float16"),
    (layer(), {"dtype": None, "torch_dtype": "float16"}, "float16"),
    (layer(), {"dtype": None, "text_config": {"dtype": "float16"}}, "float16"),
    (WIDE, {"dtype": "float32"}, "bfloat16"),
    (WIDE, {"dtype": None}, "bfloat16"),
    ({"x": ("F16", np.ones((2, 2), np.float16))}, {"dtype": None}, "float16"),
    ({"x": ("F16", np.ones((2, 2), np.float16))} | WIDE, {"dtype": None}, "bfloat16"),
    (layer(), {"dtype": "float8_e4m3fn"}, "bfloat16"),
]


@pytest.mark.parametrize(("tensors", "config", "own"), STORED)
def test_the_dtype_is_the_one_that_the_engine_takes_by_itself(
    tmp_path: Path, tensors: builders.Tensors, config: dict[str, Any], own: str
) -> None:
    assert read_base(checkpoint(tmp_path, tensors, **config)).dtype == own


@pytest.mark.parametrize("config", [{"dtype": "float32"}, {"dtype": None}])
@pytest.mark.parametrize(("asked", "part", "width"), [("auto", 2, 2), ("float32", 1, 4)])
def test_a_float32_checkpoint_takes_half_of_its_files_unless_it_is_computed_in_float32(
    tmp_path: Path, config: dict[str, Any], asked: str, part: int, width: int
) -> None:
    folder = checkpoint(tmp_path, WIDE, **LLAMA, **config)
    base = read_base(folder, asked)
    assert base.weight_bytes == (folder / "model.safetensors").stat().st_size // part
    assert base.shape is not None
    assert base.shape.bytes_per_value == width


def test_weights_that_cannot_be_read_here_are_taken_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (tmp_path / "model.safetensors").write_bytes(b"no header")
    base = read_base(tmp_path)
    assert (base.weight_bytes, base.dtype) == (9, "bfloat16")
