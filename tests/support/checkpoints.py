"""A base model of one layer, as Hugging Face would store it."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from support import builders

CONFIG = {"model_type": "llama", "dtype": "bfloat16"}


def checkpoint(folder: Path, tensors: builders.Tensors | None = None, **config: Any) -> Path:
    """A base of one layer whose linear modules are those of ``builders.FACTS``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG | config))
    made = layer() if tensors is None else tensors
    (folder / "model.safetensors").write_bytes(builders.safetensors(made))
    return folder


def layer() -> builders.Tensors:
    rng = np.random.default_rng(1)
    shapes = {
        "model.embed_tokens.weight": (32, 16),
        "model.layers.0.input_layernorm.weight": (16,),
        f"{builders.Q}.weight": (16, 16),
        f"{builders.Q}.bias": (16,),
        f"{builders.V}.weight": (8, 16),
        "lm_head.weight": (32, 16),
    }
    return {
        name: ("BF16", builders.as_dtype(rng.standard_normal(shape), "BF16"))
        for name, shape in shapes.items()
    }
