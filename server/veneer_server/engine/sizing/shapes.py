"""What a base model's folder says about the memory that it needs: no engine, no framework."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from veneer_adapters.artifact.tensors import read_header
from veneer_adapters.errors import AdapterRejected

_INDEX = "model.safetensors.index.json"
_WEIGHTS = ("*.safetensors", "*.bin", "*.gguf")
"""The files of the weights; of several kinds in a folder the engine reads the first."""
WIDTHS = {"float32": 4, "bfloat16": 2, "float16": 2}
"""Bytes of a value by the name of its dtype."""
OWN_DTYPE = "bfloat16"
"""In which the engine computes a float32 checkpoint, unless told otherwise.

Source: vLLM 0.32, ``_resolve_auto_dtype`` in config/model.py."""
_STORED = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
"""The dtypes as safetensors name them."""


class ModelNotUnderstood(ValueError):
    """The model's ``config.json`` lacks a size that the plan needs."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The numbers of a base model that decide the size of slots and of the KV cache."""

    values_per_rank: int
    """Values in an adapter of rank 1 on all seven usual modules: input plus output features."""
    kv_values_per_token: int
    bytes_per_value: int = 2
    bytes_per_weight: int | None = None
    """Bytes of a value of an adapter, where it is not ``bytes_per_value``."""

    @classmethod
    def of(cls, config: Mapping[str, Any], bytes_per_value: int = 2) -> "Shape":
        """Read a Llama-like ``config.json``.

        Raises:
            ModelNotUnderstood: a size is missing or is no number.
        """
        try:
            hidden, wide = int(config["hidden_size"]), int(config["intermediate_size"])
            layers, heads = int(config["num_hidden_layers"]), int(config["num_attention_heads"])
        except (KeyError, TypeError, ValueError) as error:
            raise ModelNotUnderstood(f"config.json has no usable {error}") from error
        head = int(config.get("head_dim") or hidden // heads)
        query, kv = heads * head, int(config.get("num_key_value_heads") or heads) * head
        attention = 2 * (hidden + query) + 2 * (hidden + kv)
        per_rank = layers * (attention + 3 * (hidden + wide))
        return cls(per_rank, layers * 2 * kv, bytes_per_value)

    def adapter_bytes(self, rank: int) -> int:
        """Return the bytes that an adapter of ``rank`` takes."""
        return (self.bytes_per_weight or self.bytes_per_value) * rank * self.values_per_rank

    def kv_tokens(self, size_bytes: int) -> int:
        """Return how many tokens fit into a KV cache of this size."""
        return size_bytes // (self.bytes_per_value * self.kv_values_per_token)


@dataclass(frozen=True, slots=True)
class Base:
    """What is known of a base model before an engine has read it; None where nothing is."""

    weight_bytes: int | None = None
    """As they will be in memory."""
    shape: Shape | None = None
    dtype: str | None = None
    """The dtype that the engine takes by itself: the checkpoint's, or ``OWN_DTYPE``."""
    is_quantized: bool = False

    def in_float32(self) -> "Base":
        """Return the same model of a 16-bit checkpoint as it is in memory in float32."""
        weights = None if self.weight_bytes is None else 2 * self.weight_bytes
        shape = None if self.shape is None else replace(self.shape, bytes_per_value=4)
        return replace(self, weight_bytes=weights, shape=shape)

    def with_adapters(self, width: int) -> "Base":
        """Return the same model with adapters whose values take ``width`` bytes."""
        shape = None if self.shape is None else replace(self.shape, bytes_per_weight=width)
        return replace(self, shape=shape)


def read_base(folder: Path | None, dtype: str = "auto") -> Base:
    """Return what the files in ``folder`` say of a model that will be served in ``dtype``.

    A model that is not on this machine yet has no folder.
    """
    config = _read_object(folder / "config.json") if folder else None
    if folder is None or config is None:
        return Base()
    files, inner = list(_weight_files(folder)), text_part(config)
    stored = _named_dtype(config, inner) or _dtype_in(files)
    own = stored if stored in WIDTHS and stored != "float32" else OWN_DTYPE
    width = WIDTHS.get(own if dtype == "auto" else dtype, 2)
    is_quantized = "quantization_config" in config
    grows = width / WIDTHS.get(stored or "", width) if not is_quantized else 1
    on_disk = sum(path.stat().st_size for path in files)
    return Base(int(on_disk * grows) or None, _shape(inner, width), own, is_quantized)


def text_part(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what ``config`` says of the language model, where it also says more."""
    text = config.get("text_config")
    return text if isinstance(text, dict) else config


def _named_dtype(*configs: Mapping[str, Any]) -> str | None:
    named = (config.get(key) for config in configs for key in ("dtype", "torch_dtype"))
    return next((str(name) for name in named if name), None)


def _dtype_in(files: Sequence[Path]) -> str | None:
    """Return the dtype of the first file's tensors, the wider one of two; None if unreadable."""
    if not files or files[0].suffix != ".safetensors":
        return None
    try:
        with files[0].open("rb") as file:
            kinds = {tensor.dtype for tensor in read_header(file).values()} & _STORED.keys()
    except (OSError, AdapterRejected):
        return None
    return _STORED[next(iter(kinds))] if len(kinds) == 1 else "float32"


def _shape(config: Mapping[str, Any], width: int) -> Shape | None:
    try:
        return Shape.of(config, width)
    except ModelNotUnderstood:
        return None


def _weight_files(folder: Path) -> Iterable[Path]:
    # A folder may hold the same weights once more, in another layout that the index leaves out.
    index = _read_object(folder / _INDEX) or {}
    named = index.get("weight_map")
    if isinstance(named, dict):
        files = [folder / Path(str(name)).name for name in set(named.values())]
        return [file for file in files if file.is_file()]
    for pattern in _WEIGHTS:
        if found := list(folder.glob(pattern)):
            return found
    return []


def _read_object(file: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
