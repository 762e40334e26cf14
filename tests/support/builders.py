"""Small valid adapters, made of numpy only, and the ways to spoil them."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veneer_adapters.artifact.manifest import BaseFacts, Manifest
from veneer_adapters.catalog.revision import Revision, Source

Q, V = "model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.v_proj"
MODULES = {Q: (16, 16), V: (16, 8)}
FACTS = BaseFacts(name="tiny", modules=MODULES, max_rank=8, dtype="float32")
MANIFEST = Manifest(4, 8.0, False, ("q_proj", "v_proj"), 2, 1000, "tiny", "F32")
FOLDER = Source("folder", "somewhere")

Tensors = dict[str, tuple[str, NDArray[Any]]]
"""Name -> (safetensors dtype, values; BF16 as uint16 bit patterns)."""

_DTYPES = {"F32": np.float32, "F16": np.float16, "F64": np.float64}


def config(**overrides: object) -> dict[str, object]:
    """What PEFT writes for a plain LoRA."""
    return {
        "peft_type": "LORA",
        "base_model_name_or_path": "tiny",
        "r": 4,
        "lora_alpha": 8,
        "target_modules": ["q_proj", "v_proj"],
        "bias": "none",
        "use_dora": False,
        "modules_to_save": None,
        "rank_pattern": {},
        "alpha_pattern": {},
        "megatron_core": "megatron.core",
        **overrides,
    }


def tensors(
    modules: Mapping[str, tuple[int, int]] = MODULES,
    *,
    rank: int = 4,
    dtype: str = "F32",
    seed: int = 0,
) -> Tensors:
    """One A and one B of random values for each module."""
    rng = np.random.default_rng(seed)
    made: Tensors = {}
    for module, (in_features, out_features) in modules.items():
        for side, shape in (("A", (rank, in_features)), ("B", (out_features, rank))):
            name = f"base_model.model.{module}.lora_{side}.weight"
            made[name] = (dtype, as_dtype(rng.standard_normal(shape), dtype))
    return made


def as_dtype(values: NDArray[Any], dtype: str) -> NDArray[Any]:
    """Return ``values`` as they are stored; BF16 by cutting float32 in half."""
    if dtype == "BF16":
        return (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    return values.astype(_DTYPES[dtype])


def safetensors(of: Tensors) -> bytes:
    """Return the file the safetensors library would write."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    body = b""
    for name, (dtype, values) in of.items():
        data = values.tobytes()
        offsets = [len(body), len(body) + len(data)]
        header[name] = {"dtype": dtype, "shape": list(values.shape), "data_offsets": offsets}
        body += data
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def write(
    folder: Path,
    *,
    config_json: bytes | str | None = None,
    weights: bytes | None = None,
    seed: int = 0,
    **overrides: object,
) -> Path:
    """Write an adapter that fits ``FACTS`` into ``folder``; the arguments spoil it."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(config(**overrides)) if config_json is None else config_json
    raw = text.encode() if isinstance(text, str) else text
    (folder / "adapter_config.json").write_bytes(raw)
    made = safetensors(tensors(seed=seed)) if weights is None else weights
    (folder / "adapter_model.safetensors").write_bytes(made)
    return folder


def revision(name: str = "a", digit: str = "1", *, number: int = 1) -> Revision:
    """A revision that exists on paper only."""
    return Revision(name, number, digit * 64, Path(f"/nowhere/{digit}"), MANIFEST, 0)
