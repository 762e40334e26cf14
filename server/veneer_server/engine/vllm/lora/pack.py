"""Reads, scales, casts and lays out an adapter's weights in the form of the slots.

This file uses only numpy, which lets other threads run while it reads, casts and copies. It knows
nothing of vLLM or of slots. ``stored`` is the numpy dtype for a dtype of ``lora.layer.STORED``:
float32, or uint16 for bfloat16.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np

from veneer_adapters.artifact.files import WEIGHTS_FILE
from veneer_adapters.artifact.manifest import Pair, read_artifact
from veneer_adapters.artifact.tensors import Tensor
from veneer_adapters.errors import Truncated

Array = np.ndarray[Any, Any]

_WORDS = {"BF16": np.uint16, "F16": np.float16, "F32": np.float32}


@dataclass(frozen=True, slots=True)
class PackedPair:
    """The two matrices of one module, in the order and dtype of a slot."""

    a: Array
    """``(rank, in)``."""
    b: Array
    """``(rank, out)``, multiplied by the adapter's scaling; ``pack`` says in which order."""


Packed = Mapping[str, PackedPair]
"""The pairs of an adapter, by the module's name in the checkpoint."""


def pack(folder: Path, stored: np.dtype[Any], *, by_output: bool = False) -> dict[str, PackedPair]:
    """Return a copy of the weights of the adapter in ``folder``.

    B is scaled in float32 and rounded once. In memory it is row after row, or with ``by_output``
    column after column, as files and vLLM's own slots have it.

    Raises:
        AdapterRejected: the files are not, or no longer, a well-formed adapter.
        OSError: the files cannot be read.
    """
    # A plain open is safe here: the server checked these files when it put them into its store.
    artifact = read_artifact(folder, open_file=lambda name: (folder / name).open("rb"))
    packed = _reserve(artifact.pairs, stored, by_output=by_output)
    scratch = _Scratch(max(max(own.a.size, own.b.size) for own in packed.values()))
    with (folder / WEIGHTS_FILE).open("rb", buffering=0) as file:
        for module, pair in artifact.pairs.items():
            scale = artifact.config.scaling_of(module)
            own = packed[module]
            _write(_read(file, pair.a, own.a), 1.0, own.a, scratch)
            b = _read(file, pair.b)
            words, into = (b, own.b.T) if by_output else (b.T, own.b)
            _write(words, scale, into, scratch)
    return packed


def _reserve(
    pairs: Mapping[str, Pair], stored: np.dtype[Any], *, by_output: bool
) -> dict[str, PackedPair]:
    # One allocation, because the kernel gives a few large pages much faster than many small ones.
    size = sum(math.prod(t.shape) for pair in pairs.values() for t in (pair.a, pair.b))
    arena = np.empty(size, stored)
    packed = {}
    for module, pair in pairs.items():
        rank, width = pair.a.shape
        a, arena = arena[: rank * width], arena[rank * width :]
        b, arena = arena[: rank * pair.b.shape[0]], arena[rank * pair.b.shape[0] :]
        b = b.reshape(-1, rank).T if by_output else b.reshape(rank, -1)
        packed[module] = PackedPair(a.reshape(rank, width), b)
    return packed


def _read(file: FileIO, tensor: Tensor, into: Array | None = None) -> Array:
    """Return a matrix as it is stored; read it into ``into`` if that has the same dtype."""
    dtype = _WORDS[tensor.dtype]
    # Not with mmap: a file that shrinks would then end the process, and not only this load.
    words = np.empty(tensor.shape, dtype) if into is None or into.dtype != dtype else into
    file.seek(tensor.start)
    if file.readinto(words.data.cast("B")) != words.nbytes:
        raise Truncated("The weights file ends before its last tensor.")
    return words


class _Scratch:
    """Memory for one matrix of ``size`` numbers, and for rounding it."""

    def __init__(self, size: int) -> None:
        self.numbers = np.empty(size, np.float32)
        self.carry = np.empty(size, np.uint32)


def _write(words: Array, scale: float, into: Array, scratch: _Scratch) -> None:
    """Write the values of ``words``, multiplied by ``scale``, to ``into``."""
    if scale == 1.0 and words.dtype == into.dtype:
        if words is not into:
            into[:] = words
        return
    numbers = scratch.numbers[: words.size].reshape(words.shape)
    widen(words, numbers)
    numbers *= np.float32(scale)
    if into.dtype == np.float32:
        into[:] = numbers
    elif words.dtype == np.uint16 and _stays_in_bfloat16(scale):
        bits = numbers.view(np.uint32)
        bits >>= 16
        into[:] = bits
    else:
        round_to_bfloat16(numbers, scratch.carry[: words.size].reshape(words.shape), into)


def _stays_in_bfloat16(scale: float) -> bool:
    """Return whether each bfloat16, multiplied by ``scale``, is one again: only the exponent grows.

    Most adapters have such a scaling, and without rounding they load in two thirds of the time.
    """
    return scale >= 1 and math.frexp(scale)[0] == 0.5


def widen(words: Array, into: Array) -> None:
    """Write the values of ``words`` to float32 ``into``; uint16 means bfloat16."""
    if words.dtype == np.uint16:
        bits = into.view(np.uint32)
        bits[:] = words
        bits <<= 16
    else:
        into[:] = words


def round_to_bfloat16(numbers: Array, carry: Array, into: Array) -> None:
    """Round finite float32 ``numbers`` to bfloat16 in ``into``: to the nearest, ties to even.

    This overwrites ``numbers`` and uint32 ``carry``.
    """
    bits = numbers.view(np.uint32)
    np.right_shift(bits, 16, out=carry)
    carry &= 1
    carry += 0x7FFF
    bits += carry
    bits >>= 16
    into[:] = bits
