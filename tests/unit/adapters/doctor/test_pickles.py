"""A torch checkpoint is read without torch, and nothing in it is ever run."""

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from support import builders, torch_files
from support.torch_files import archive, number, program, storage, tensor, text
from veneer_adapters.doctor.pickles import read_pickle
from veneer_adapters.errors import InvalidTensors, UnsafeFormat

FLOATS = np.arange(12, dtype=np.float32)


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16", "F64"])
def test_the_tensors_are_those_that_were_saved(dtype: str) -> None:
    saved = builders.tensors(dtype=dtype)
    found = read_pickle(io.BytesIO(torch_files.torch_file(saved)))
    assert found.keys() == saved.keys()
    for name, (kind, values) in saved.items():
        assert found[name].dtype == kind
        assert np.array_equal(found[name].words, values)


@pytest.mark.engine
def test_torch_itself_is_understood(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    whole = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    state = {
        "plain": whole,
        "transposed": whole.T,
        "a part": whole[1:3, 2:5],
        "shared": whole[0],
        "bfloat16": torch.randn(3, 5).to(torch.bfloat16),
        "half": torch.randn(2, 2).half(),
    }
    torch.save(state, tmp_path / "model.bin")
    with (tmp_path / "model.bin").open("rb") as file:
        found = read_pickle(file)
    for name, value in state.items():
        assert np.array_equal(found[name].to_float32(), value.float().numpy()), name


def one(value: bytes) -> bytes:
    return archive(program({"a": value}), {"0": FLOATS.tobytes()})


GOOD = storage("0", "FloatStorage", 12)
MALICE = [
    ("a command", one(b"cos\nsystem\n(" + text("touch ran") + b"tR")),
    ("a builtin", one(b"c__builtin__\neval\n(" + text("open('ran', 'w')") + b"tR")),
    ("torch's own loader", one(b"ctorch\nload\n(" + text("x") + b"tR")),
    ("a module path", one(b"ccollections\nabc.sys\n.")),
    ("an extension code", one(b"\x82\x01")),
    ("another persistent id", one(b"(" + text("module") + text("x") * 4 + b"tQ")),
    ("a storage of another type", one(tensor(storage("0", "LongStorage", 12), [12], [1]))),
    ("a key that is a path", one(tensor(storage("../data.pkl", "FloatStorage", 12), [12], [1]))),
    ("no zip", b"\x80\x02cos\nsystem\n(X\x02\x00\x00\x00idtR."),
    ("the format before the zip", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."),
    (
        "a compressed entry",
        archive(
            program({"a": tensor(GOOD, [12], [1])}),
            {"0": FLOATS.tobytes()},
            compression=zipfile.ZIP_DEFLATED,
        ),
    ),
]


@pytest.mark.parametrize("data", [c[1] for c in MALICE], ids=[c[0] for c in MALICE])
def test_what_is_more_than_plain_tensors_is_refused_and_not_run(
    data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises((UnsafeFormat, InvalidTensors)):
        read_pickle(io.BytesIO(data))
    assert os.listdir(tmp_path) == []


DAMAGED = [
    ("beyond its storage", one(tensor(GOOD, [13], [1]))),
    ("beyond it by its offset", one(tensor(GOOD, [12], [1], offset=1))),
    ("beyond it by its strides", one(tensor(GOOD, [3, 4], [4, 3]))),
    ("larger than its storage", one(tensor(GOOD, [1000, 1000], [0, 0]))),
    ("of negative size", one(tensor(GOOD, [-1], [1]))),
    ("of negative strides", one(tensor(GOOD, [12], [-1]))),
    ("of other dimensions than strides", one(tensor(GOOD, [12], [1, 1]))),
    ("of a huge size", one(tensor(GOOD, [1 << 62, 1 << 62], [1, 1]))),
    ("of no size", one(tensor(GOOD, [0], [1]))),
    ("a storage that is shorter", one(tensor(storage("0", "FloatStorage", 13), [12], [1]))),
    ("a storage that is not there", one(tensor(storage("7", "FloatStorage", 12), [12], [1]))),
    ("a number", one(number(1))),
    ("a storage alone", one(GOOD)),
    ("a class alone", one(b"ctorch\nFloatStorage\n")),
    ("a tensor of no storage", one(tensor(text("x"), [1], [1]))),
    ("an empty program", archive(b"", {})),
    ("a program that ends early", archive(b"\x80\x02(", {})),
    ("no mapping", archive(b"\x80\x02].", {})),
    ("a stack underflow", archive(b"\x80\x02uuu.", {})),
]


@pytest.mark.parametrize("data", [c[1] for c in DAMAGED], ids=[c[0] for c in DAMAGED])
def test_a_damaged_pickle_is_refused(data: bytes) -> None:
    with pytest.raises((InvalidTensors, UnsafeFormat)):
        read_pickle(io.BytesIO(data))


def test_every_cut_of_a_pickle_is_refused() -> None:
    whole = torch_files.torch_file(builders.tensors())
    for size in range(0, len(whole) - 1, 37):
        with pytest.raises((InvalidTensors, UnsafeFormat)):
            read_pickle(io.BytesIO(whole[:size]))
