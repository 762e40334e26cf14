"""Random adapters for the model that is measured; each is written when it is first needed."""

import json
import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from veneer_server.bench.peers.peers import TARGETS

FAINT, PLAIN = 0.001, 0.05
"""How much an adapter changes a module's output: almost not, or enough to change words."""
_CONFIG = "adapter_config.json"
_WEIGHTS = "adapter_model.safetensors"


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a Llama-like model."""

    layers: int
    modules: dict[str, tuple[int, int]]
    """The input and output features of each module, by its path below a layer."""


def shape_of(model: Path) -> Shape:
    """Return the sizes in ``config.json`` of the folder ``model``."""
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    head = config.get("head_dim") or hidden // heads
    queries, keys = heads * head, (config.get("num_key_value_heads") or heads) * head
    ffn = config["intermediate_size"]
    sizes = [
        (hidden, queries),
        (hidden, keys),
        (hidden, keys),
        (queries, hidden),
        (hidden, ffn),
        (hidden, ffn),
        (ffn, hidden),
    ]
    places = ["self_attn"] * 4 + ["mlp"] * 3
    paths = (f"{place}.{target}" for place, target in zip(places, TARGETS, strict=True))
    return Shape(config["num_hidden_layers"], dict(zip(paths, sizes, strict=True)))


@dataclass(frozen=True, slots=True)
class Shelf:
    """A folder of adapters; each is written once."""

    folder: Path
    shape: Shape

    def take(self, names: Sequence[str], rank: int, *, strength: float = FAINT) -> None:
        """Make sure that each of ``names`` is an adapter of ``rank`` on all seven modules."""
        for name in names:
            if not (self.folder / name / _CONFIG).exists():
                tensors = dict(random_tensors(self.shape, rank, strength, _seed(name)))
                self._write(name, tensors, rank, TARGETS)

    def take_tiny(self, names: Sequence[str]) -> None:
        """Make sure that each of ``names`` is an adapter of rank 1 on one module.

        They are for measurements in which only their number matters.
        """
        queries = {key: size for key, size in self.shape.modules.items() if key.endswith("q_proj")}
        shape = Shape(self.shape.layers, queries)
        for name in names:
            if not (self.folder / name / _CONFIG).exists():
                tensors = dict(random_tensors(shape, 1, FAINT, _seed(name)))
                self._write(name, tensors, 1, TARGETS[:1])

    def take_alike(self, names: Sequence[str], rank: int) -> None:
        """Make sure that ``names`` are adapters that share one weights file and differ in alpha."""
        self.take(names[:1], rank)
        for index, name in enumerate(names[1:], 1):
            (self.folder / name).mkdir(exist_ok=True)
            self._write_config(name, rank, TARGETS, alpha=rank * (1 + index / 1000))
            if not (self.folder / name / _WEIGHTS).exists():
                os.link(self.folder / names[0] / _WEIGHTS, self.folder / name / _WEIGHTS)

    def _write(
        self, name: str, tensors: dict[str, NDArray[np.uint16]], rank: int, targets: Sequence[str]
    ) -> None:
        (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / name / _WEIGHTS).write_bytes(to_safetensors(tensors))
        self._write_config(name, rank, targets, alpha=rank)

    def _write_config(self, name: str, rank: int, targets: Sequence[str], alpha: float) -> None:
        config = {
            "peft_type": "LORA",
            "r": rank,
            "lora_alpha": alpha,
            "target_modules": list(targets),
            "bias": "none",
        }
        (self.folder / name / _CONFIG).write_text(json.dumps(config), encoding="utf-8")


def place(source: Path, folder: Path, names: Sequence[str]) -> None:
    """Put ``names`` of ``source`` into ``folder`` quickly, as hard links."""
    for name in names:
        (folder / name).mkdir()
        for file in (source / name).iterdir():
            os.link(file, folder / name / file.name)


def random_tensors(
    shape: Shape, rank: int, strength: float, seed: int
) -> Iterator[tuple[str, NDArray[np.uint16]]]:
    """Yield the name and the bfloat16 bits of every matrix A and B."""
    rng = np.random.default_rng(seed)
    for layer in range(shape.layers):
        for path, (features_in, features_out) in shape.modules.items():
            module = f"base_model.model.model.layers.{layer}.{path}"
            a = rng.standard_normal((rank, features_in), dtype=np.float32)
            b = rng.standard_normal((features_out, rank), dtype=np.float32)
            yield f"{module}.lora_A.weight", to_bfloat16(a * features_in**-0.5)
            yield f"{module}.lora_B.weight", to_bfloat16(b * strength * rank**-0.5)


def to_safetensors(tensors: dict[str, NDArray[np.uint16]]) -> bytes:
    """Return the bytes of a safetensors file with bfloat16 ``tensors``.

    Format: the length of the header, the header as JSON, then the values without gaps.
    Source: https://github.com/huggingface/safetensors#format
    """
    header: dict[str, object] = {}
    end = 0
    for name, value in tensors.items():
        begin, end = end, end + value.nbytes
        header[name] = {"dtype": "BF16", "shape": value.shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    return b"".join(
        [struct.pack("<Q", len(text)), text, *map(np.ndarray.tobytes, tensors.values())]
    )


def to_bfloat16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Return bfloat16 bits: the upper half of each float32's bits."""
    return (values.view(np.uint32) >> 16).astype(np.uint16)


def _seed(name: str) -> int:
    return int.from_bytes(name.encode(), "little") % 2**32
