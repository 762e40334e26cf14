"""The safetensors format: Veneer's own parser of the header, and values read without a framework.

Format: 8 bytes little-endian length, that many bytes of JSON, then the tensors back to back.
Source: https://github.com/huggingface/safetensors#format
"""

import math
import os
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from veneer_adapters.artifact import strict_json
from veneer_adapters.errors import InvalidTensors, Truncated, UnsupportedFeature, quoted

MAX_HEADER_BYTES = 100_000_000
"""The limit of the safetensors library itself."""

_LENGTH_BYTES = 8
_CHUNK_BYTES = 8 << 20
_ITEM_BYTES = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64"), 8),
}


@dataclass(frozen=True, slots=True)
class Tensor:
    """Where one tensor lies in its file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    """Offset of its first byte from the beginning of the file; ``stop`` is behind its last."""
    stop: int


def read_header(file: BinaryIO) -> dict[str, Tensor]:
    """Return the tensors of an open safetensors file by name, without reading their values.

    Each tensor lies wholly inside the file, and none overlaps another.

    Raises:
        Truncated: the file ends before the end that its header states.
        InvalidTensors: the format does not allow this header.
        UnsupportedFeature: a dtype is unknown here.
    """
    size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
    if size < _LENGTH_BYTES or length > size - _LENGTH_BYTES:
        raise Truncated("The weights file ends inside its header.")
    if length > MAX_HEADER_BYTES:
        raise InvalidTensors(f"The weights' header is larger than {MAX_HEADER_BYTES} bytes.")
    entries = _parse(file.read(length))
    begin = _LENGTH_BYTES + length
    tensors = [_tensor(name, entry, begin) for name, entry in entries.items()]
    _require_contiguous(tensors, begin, size)
    return {tensor.name: tensor for tensor in tensors}


def peak(file: BinaryIO, tensor: Tensor) -> float:
    """Return the largest magnitude in ``tensor``; it is NaN or infinite when any value is.

    ``tensor`` is F32, F16 or BF16. Memory use is bounded, whatever the size of the tensor.

    Raises:
        Truncated: the file is shorter than its header states.
    """
    file.seek(tensor.start)
    word, sign_off = ("<u4", 0x7FFFFFFF) if tensor.dtype == "F32" else ("<u2", 0x7FFF)
    largest = 0
    left = tensor.stop - tensor.start
    while left:
        chunk = file.read(min(left, _CHUNK_BYTES))
        if not chunk or len(chunk) % np.dtype(word).itemsize:
            raise Truncated("The weights file ends before its last tensor.")
        # Without the sign bit, floats sort like their bits as integers; infinity and NaN come last.
        largest = max(largest, int((np.frombuffer(chunk, word) & sign_off).max()))
        left -= len(chunk)
    return _to_float(largest, tensor.dtype)


def _to_float(bits: int, dtype: str) -> float:
    if dtype == "F16":
        half: NDArray[np.float16] = np.array([bits], np.uint16).view(np.float16)
        return float(half[0])
    wide = bits << 16 if dtype == "BF16" else bits
    single: NDArray[np.float32] = np.array([wide], np.uint32).view(np.float32)
    return float(single[0])


def _parse(header: bytes) -> dict[str, object]:
    if not header.startswith(b"{"):
        raise InvalidTensors("The weights are not in the safetensors format.")
    try:
        entries = strict_json.parse(header)
    except ValueError as error:
        raise InvalidTensors(f"The weights' header cannot be read: {error}.") from None
    if not isinstance(entries, dict):
        raise InvalidTensors("The weights' header must be one JSON object.")
    metadata = entries.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise InvalidTensors("The metadata in the weights' header must map text to text.")
    return entries


def _tensor(name: str, entry: object, begin: int) -> Tensor:
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise InvalidTensors(
            f"The entry of tensor {quoted(name)} must be dtype, shape and data_offsets."
        )
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not _are_counts(shape) or not _are_counts(offsets) or len(offsets) != 2:
        raise InvalidTensors(f"The shape or offsets of tensor {quoted(name)} are impossible.")
    if not isinstance(dtype, str) or dtype not in _ITEM_BYTES:
        raise UnsupportedFeature(f"The dtype {quoted(dtype)} is not supported.")
    start, stop = offsets
    if stop - start != math.prod(shape) * _ITEM_BYTES[dtype]:
        raise InvalidTensors(
            f"The shape of tensor {quoted(name)} does not match its number of bytes."
        )
    return Tensor(name, dtype, tuple(shape), begin + start, begin + stop)


def _are_counts(value: object) -> bool:
    return isinstance(value, list) and all(type(n) is int and 0 <= n < 1 << 48 for n in value)


def _require_contiguous(tensors: list[Tensor], begin: int, size: int) -> None:
    at = begin
    for tensor in sorted(tensors, key=lambda t: (t.start, t.stop)):
        if tensor.start != at:
            raise InvalidTensors(f"Tensor {quoted(tensor.name)} overlaps another or leaves a gap.")
        at = tensor.stop
    if at > size:
        raise Truncated("The weights file ends before its last tensor.")
    if at < size:
        raise InvalidTensors("The weights file has bytes that belong to no tensor.")
