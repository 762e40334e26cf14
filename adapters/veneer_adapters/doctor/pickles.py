"""The values in a torch checkpoint (``adapter_model.bin``), read without torch and without trust.

A pickle is a program. This reader knows the calls that plain tensors consist of, and refuses every
other call. Even so, run it in ``sandbox``.

Format: a zip of stored (uncompressed) entries: ``<top>/data.pkl``, and one ``<top>/data/<key>`` per
storage. Source: torch/serialization.py, ``_save``.
"""

import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from veneer_adapters.artifact.values import WORDS, Values
from veneer_adapters.errors import InvalidTensors, UnsafeFormat, quoted

_MAX_PROGRAM_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class _StorageType:
    dtype: str


@dataclass(frozen=True, slots=True)
class _Storage:
    dtype: str
    words: np.ndarray[Any, Any]


_STORAGES = {
    ("torch", "DoubleStorage"): _StorageType("F64"),
    ("torch", "FloatStorage"): _StorageType("F32"),
    ("torch", "HalfStorage"): _StorageType("F16"),
    ("torch", "BFloat16Storage"): _StorageType("BF16"),
}


def read_pickle(file: BinaryIO) -> dict[str, Values]:
    """Return the tensors of a torch checkpoint by name.

    Raises:
        UnsafeFormat: it contains more than plain tensors, or is not a zip of stored entries.
        InvalidTensors: a tensor does not fit its bytes, or a value is not a tensor.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            found = _Reader(archive).load()
    except zipfile.BadZipFile:
        raise UnsafeFormat("The pickle has a form that cannot be read safely.") from None
    except _DAMAGED as error:
        raise InvalidTensors("The pickle is damaged.") from error
    if not isinstance(found, dict):
        raise InvalidTensors("The pickle does not contain tensors by name.")
    for name, values in found.items():
        if not isinstance(name, str) or not isinstance(values, Values):
            raise InvalidTensors("The pickle contains something that is not a tensor.")
    return dict(found)


_DAMAGED = (
    pickle.UnpicklingError, EOFError, KeyError, IndexError, ValueError, TypeError, AttributeError,
)  # fmt: skip
"""The errors that a damaged pickle makes the reader raise."""


class _Reader(pickle.Unpickler):
    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        programs = [i for i in archive.infolist() if i.filename.endswith("/data.pkl")]
        if len(programs) != 1 or programs[0].file_size > _MAX_PROGRAM_BYTES:
            raise UnsafeFormat("The pickle has a form that cannot be read safely.")
        self._top = programs[0].filename.removesuffix("data.pkl")
        self._storages: dict[str, _Storage] = {}
        super().__init__(self._open(programs[0].filename), encoding="utf-8")

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _STORAGES:
            return _STORAGES[module, name]
        known: dict[tuple[str, str], Callable[..., Any]] = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _rebuild,
        }
        if (module, name) in known:
            return known[module, name]
        raise UnsafeFormat(
            f"The pickle would run {quoted(f'{module}.{name}')}; only plain tensors are read."
        )

    def persistent_load(self, pid: Any) -> _Storage:
        kind, storage_type, key, _location, count = pid
        if kind != "storage" or not isinstance(storage_type, _StorageType):
            raise UnsafeFormat("The pickle refers to something that is not a tensor's storage.")
        if not isinstance(key, str) or not key.isalnum():
            raise UnsafeFormat("The pickle refers to something that is not a tensor's storage.")
        if key not in self._storages:
            self._storages[key] = self._storage(storage_type.dtype, key, count)
        return self._storages[key]

    def _storage(self, dtype: str, key: str, count: int) -> _Storage:
        with self._open(f"{self._top}data/{key}") as entry:
            words = np.frombuffer(entry.read(), np.dtype(WORDS[dtype]).newbyteorder("<"))
        if words.size != count:
            raise InvalidTensors("A storage of the pickle has another length than it states.")
        return _Storage(dtype, words)

    def _open(self, name: str) -> Any:
        entry = self._archive.getinfo(name)
        # A compressed entry could be a thousand times larger than the file.
        if entry.compress_type != zipfile.ZIP_STORED:
            raise UnsafeFormat("The pickle is compressed, which torch never writes.")
        return self._archive.open(entry)


def _rebuild(
    storage: object, offset: int, size: Any, stride: Any, *_gradients_and_hooks: object
) -> Values:
    if not isinstance(storage, _Storage):
        raise InvalidTensors("The pickle contains a tensor without a storage.")
    shape, steps = _counts(size), _counts(stride)
    [begin] = _counts((offset,))
    last = begin + sum((n - 1) * step for n, step in zip(shape, steps, strict=True))
    items = math.prod(shape)
    if items == 0 or items > storage.words.size or last >= storage.words.size:
        raise InvalidTensors("A tensor of the pickle does not lie inside its storage.")
    width = storage.words.itemsize
    view = np.lib.stride_tricks.as_strided(
        storage.words[begin:], shape, [step * width for step in steps], writeable=False
    )
    return Values(storage.dtype, np.ascontiguousarray(view))


def _counts(numbers: Any) -> tuple[int, ...]:
    found = tuple(numbers)
    if not all(type(n) is int and 0 <= n < 1 << 48 for n in found) or len(found) > 8:
        raise InvalidTensors("The shape of a tensor of the pickle is impossible.")
    return found
