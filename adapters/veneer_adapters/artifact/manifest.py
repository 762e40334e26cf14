"""The facts of an adapter's files, read without an engine, and of the base that they must fit.

Reading checks that the files are well-formed and ask for nothing that Veneer would ignore.
``checks`` decides whether they fit the base, and whether their values can be served.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO

from veneer_adapters.artifact.config import MAX_CONFIG_BYTES, AdapterConfig, parse_config
from veneer_adapters.artifact.files import CONFIG_FILE, WEIGHTS_FILE, require_files
from veneer_adapters.artifact.opening import Place, open_inside
from veneer_adapters.artifact.tensors import Tensor, read_header
from veneer_adapters.errors import (
    AdapterRejected,
    InvalidConfig,
    InvalidTensors,
    NoEffect,
    OnFault,
    UnsupportedFeature,
    quoted,
    raise_it,
)

PREFIX = "base_model.model."
_LORA_WEIGHT = re.compile(r"(?P<module>.+)\.lora_(?P<side>[AB])\.weight")
_EMBEDDINGS = frozenset({"lm_head", "embed_tokens"})
_DTYPES = frozenset({"F32", "F16", "BF16"})


OpenFile = Callable[[str], BinaryIO]
"""Opens one file of the adapter's folder, by its name, for reading."""


@dataclass(frozen=True, slots=True)
class BaseFacts:
    """The facts of the base model that an adapter must fit."""

    name: str
    modules: Mapping[str, tuple[int, int]]
    """Full module name -> (in_features, out_features); empty when the engine has no model."""
    max_rank: int
    dtype: str = "bfloat16"
    """The dtype that the engine computes in: float32, float16 or bfloat16."""
    compress: float | None = None
    """The largest relative error with which an adapter above ``max_rank`` is compressed to it;
    None when none is."""
    lora_dtype: str | None = None
    """The dtype in which it keeps adapters; None: ``dtype``."""

    @property
    def fingerprint(self) -> str:
        """Sha256 in hex of all modules and their shapes: equal if the same adapters fit."""
        canonical = json.dumps(sorted((name, *shape) for name, shape in self.modules.items()))
        return hashlib.sha256(canonical.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is known about a revision without loading it."""

    rank: int
    """The largest rank of any module."""
    alpha: float
    use_rslora: bool
    target_modules: tuple[str, ...]
    """The last part of the name of each module that has weights, sorted, without duplicates."""
    modules: int
    """How many modules of the base model the adapter changes."""
    size_bytes: int
    """The size of both files together."""
    base_name: str | None
    """The base model that the adapter says it was trained on; not verified."""
    dtype: str
    """F32, F16, BF16, or several of them joined by ``+``."""


@dataclass(frozen=True, slots=True)
class Pair:
    """The two matrices of one module: A is (rank, in), B is (out, rank)."""

    a: Tensor
    b: Tensor

    @property
    def rank(self) -> int:
        """The rank of the pair."""
        return self.a.shape[0]


@dataclass(frozen=True, slots=True)
class Artifact:
    """An adapter's files, read and found well-formed."""

    config: AdapterConfig
    pairs: Mapping[str, Pair]
    """Full module name, as in the base model -> its matrices."""
    manifest: Manifest


def read_artifact(folder: Place, *, open_file: OpenFile | None = None) -> Artifact:
    """Return the adapter in ``folder`` with each A matched to its B; no value is read.

    Without ``open_file`` neither the folder nor a name in it is trusted.

    Raises:
        AdapterRejected: the leaf says what is wrong with the files.
    """
    require_files(folder)
    open_file = open_file or partial(open_inside, folder)
    text = _read_config(open_file)
    config = parse_config(text)
    with open_file(WEIGHTS_FILE) as file:
        pairs = pair_up(read_header(file))
        size_bytes = len(text) + os.fstat(file.fileno()).st_size
    require_ranks(config, pairs)
    return Artifact(config, pairs, _manifest(config, pairs, size_bytes))


def read_config_file(folder: Place) -> bytes:
    """Return ``adapter_config.json``, but at most one byte more than is ever accepted."""
    return _read_config(partial(open_inside, folder))


def _read_config(open_file: OpenFile) -> bytes:
    with open_file(CONFIG_FILE) as file:
        return file.read(MAX_CONFIG_BYTES + 1)


def open_weights(folder: Place) -> BinaryIO:
    """Return the open weights file; raises what ``open_inside`` raises."""
    return open_inside(folder, WEIGHTS_FILE)


def pair_up(tensors: Mapping[str, Tensor], on_fault: OnFault = raise_it) -> dict[str, Pair]:
    """Return the complete pairs among ``tensors`` by the name of their module.

    ``on_fault`` gets each tensor that is not a matrix of a LoRA of a linear layer, or has no
    partner.
    """
    sides: dict[str, dict[str, Tensor]] = {}
    for tensor in tensors.values():
        try:
            module, side = _module_and_side(tensor.name)
            _require_matrix(tensor)
            if side in sides.setdefault(module, {}):
                raise InvalidTensors(f"The weights hold {quoted(module)} twice.")
            sides[module][side] = tensor
        except AdapterRejected as fault:
            on_fault(fault)
    if not tensors:
        on_fault(NoEffect("The adapter has no weights."))
    for module, found in sides.items():
        if len(found) == 1:
            on_fault(
                InvalidTensors(
                    f"The weights hold only one of the two matrices of {quoted(module)}."
                )
            )
    return {m: Pair(found["A"], found["B"]) for m, found in sides.items() if len(found) == 2}


def require_ranks(
    config: AdapterConfig, pairs: Mapping[str, Pair], on_fault: OnFault = raise_it
) -> None:
    """Give ``on_fault`` each module whose weights have another rank than ``config`` says."""
    for module, pair in pairs.items():
        if pair.a.shape[0] != pair.b.shape[1]:
            on_fault(InvalidTensors(f"The two matrices of {quoted(module)} differ in rank."))
        elif pair.rank != config.rank_of(module):
            on_fault(
                InvalidConfig(
                    f"adapter_config.json gives {quoted(module)} the rank"
                    f" {config.rank_of(module)}, but its weights have the rank {pair.rank}."
                )
            )


def _module_and_side(name: str) -> tuple[str, str]:
    match = _LORA_WEIGHT.fullmatch(name.removeprefix(PREFIX))
    if match is None:
        raise UnsupportedFeature(
            f"The tensor {quoted(name)} is not a LoRA matrix of a linear layer."
        )
    module = match["module"]
    if module.rpartition(".")[2] in _EMBEDDINGS:
        raise UnsupportedFeature(f"The adapter changes {quoted(module)}, which is not supported.")
    return module, match["side"]


def _require_matrix(tensor: Tensor) -> None:
    if tensor.dtype not in _DTYPES:
        raise UnsupportedFeature(f"The dtype {quoted(tensor.dtype)} is not supported for LoRA.")
    if len(tensor.shape) != 2:
        raise UnsupportedFeature(f"The tensor {quoted(tensor.name)} is not a matrix.")
    if 0 in tensor.shape:
        raise InvalidTensors(f"The tensor {quoted(tensor.name)} is empty.")


def _manifest(config: AdapterConfig, pairs: Mapping[str, Pair], size_bytes: int) -> Manifest:
    return Manifest(
        rank=config.max_rank,
        alpha=config.alpha,
        use_rslora=config.use_rslora,
        target_modules=tuple(sorted({module.rpartition(".")[2] for module in pairs})),
        modules=len(pairs),
        size_bytes=size_bytes,
        base_name=config.base_name,
        dtype="+".join(sorted({t.dtype for pair in pairs.values() for t in (pair.a, pair.b)})),
    )
