"""The values of tensors, in memory and as a new safetensors file, without a framework."""

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from veneer_adapters.artifact.tensors import Tensor
from veneer_adapters.errors import Truncated, UnsupportedFeature, quoted

WORDS = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": np.uint16}
"""For each dtype of the format, the numpy dtype that keeps it; numpy has no bfloat16."""
LARGEST = {"float32": 3.4028234e38, "bfloat16": 3.3895313e38, "float16": 65504.0}
"""The largest finite value of each dtype that an engine computes in."""


@dataclass(frozen=True, slots=True)
class Values:
    """The values of one tensor."""

    dtype: str
    """F64, F32, F16 or BF16."""
    words: NDArray[Any]
    """The values; those of BF16 are bit patterns in uint16."""

    def to_float32(self) -> NDArray[np.float32]:
        """Return the values as float32; exact, except that F64 is rounded."""
        if self.dtype == "BF16":
            return (self.words.astype(np.uint32) << np.uint32(16)).view(np.float32)
        with np.errstate(over="ignore"):
            single: NDArray[np.float32] = self.words.astype(np.float32)
        return single


def read_values(file: BinaryIO, tensor: Tensor) -> Values:
    """Return the values of ``tensor``.

    Raises:
        UnsupportedFeature: the dtype is not a plain floating point dtype.
        Truncated: the file is shorter than its header states.
    """
    if tensor.dtype not in WORDS:
        raise UnsupportedFeature(f"The dtype {quoted(tensor.dtype)} is not supported for LoRA.")
    file.seek(tensor.start)
    data = file.read(tensor.stop - tensor.start)
    if len(data) != tensor.stop - tensor.start:
        raise Truncated("The weights file ends before its last tensor.")
    words = np.frombuffer(data, np.dtype(WORDS[tensor.dtype]).newbyteorder("<"))
    return Values(tensor.dtype, words.reshape(tensor.shape))


def write_tensors(path: Path, tensors: Mapping[str, Values]) -> None:
    """Write ``tensors`` as a new safetensors file.

    Raises:
        OSError: ``path`` exists or cannot be written.
    """
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, values in tensors.items():
        shape = list(values.words.shape)
        size = math.prod(shape) * values.words.itemsize
        header[name] = {"dtype": values.dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    # Aligned to 8 bytes, as the library does, so that others can map the file into memory.
    text += b" " * (-len(text) % 8)
    with path.open("xb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for values in tensors.values():
            file.write(np.ascontiguousarray(values.words).tobytes())
