"""``adapter_model.bin`` as torch writes it, assembled without torch, and the same with malice."""

import io
import struct
import zipfile
from collections.abc import Iterable

import numpy as np

from support import builders

_STORAGES = {"F32": "FloatStorage", "F64": "DoubleStorage", "F16": "HalfStorage"}
_STORAGES["BF16"] = "BFloat16Storage"
_EMPTY_HOOKS = b"ccollections\nOrderedDict\n)R"


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value: int) -> bytes:
    return b"I" + str(value).encode() + b"\n"


def numbers(values: Iterable[int]) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def storage(key: str, kind: str, count: int) -> bytes:
    return (
        b"(" + text("storage") + f"ctorch\n{kind}\n".encode() + text(key) + text("cpu")
        + number(count) + b"tQ"
    )  # fmt: skip


def tensor(stored: bytes, shape: Iterable[int], strides: Iterable[int], offset: int = 0) -> bytes:
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n(" + stored + number(offset) + numbers(shape)
        + numbers(strides) + b"\x89" + _EMPTY_HOOKS + b"tR"
    )  # fmt: skip


def program(entries: dict[str, bytes]) -> bytes:
    items = b"".join(text(name) + value for name, value in entries.items())
    return b"\x80\x02" + b"ccollections\nOrderedDict\n)R(" + items + b"u."


def archive(
    pickled: bytes, storages: dict[str, bytes], *, compression: int = zipfile.ZIP_STORED
) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as file:
        file.writestr("adapter_model/data.pkl", pickled)
        for key, data in storages.items():
            file.writestr(f"adapter_model/data/{key}", data)
        file.writestr("adapter_model/version", "3\n")
    return out.getvalue()


def torch_file(tensors: builders.Tensors) -> bytes:
    """What ``torch.save`` makes of a state dict, one storage per tensor."""
    entries, storages = {}, {}
    for n, (name, (dtype, values)) in enumerate(tensors.items()):
        key = str(n)
        steps = [s // values.itemsize for s in np.ascontiguousarray(values).strides]
        stored = storage(key, _STORAGES[dtype], values.size)
        entries[name] = tensor(stored, values.shape, steps)
        storages[key] = values.tobytes()
    return archive(program(entries), storages)
