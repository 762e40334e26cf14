"""``veneer serve`` on a base that cannot be served ends with 78 and one sentence."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from support import tiny

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]


def without_tokenizer(folder: Path) -> None:
    for file in [*folder.glob("tokenizer*"), *folder.glob("vocab*"), *folder.glob("merges*")]:
        file.unlink()


def cut(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def changed(**fields: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | fields))

    return change


UNKNOWN = changed(model_type="what", architectures=["WhatForCausalLM"])
SPOILED = [
    ("no tokenizer", without_tokenizer, "tokenizer.json"),
    ("weights cut", cut, "weights"),
    ("an unknown kind", UNKNOWN, "neither vLLM nor Transformers knows"),
    ("layers that are smaller", changed(intermediate_size=64), "do not fit its config.json"),
    ("layers that are larger", changed(intermediate_size=2048), "do not fit its config.json"),
    ("more layers", changed(num_hidden_layers=3), "do not fit its config.json"),
    ("fewer layers", changed(num_hidden_layers=1), "do not fit its config.json"),
    ("fewer words", changed(vocab_size=1000), "do not fit its config.json"),
    ("fewer heads", changed(num_attention_heads=6), "do not fit its config.json"),
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.model(tmp_path_factory.mktemp("base") / "tiny")


@pytest.mark.parametrize(("spoil", "said"), [c[1:] for c in SPOILED], ids=[c[0] for c in SPOILED])
def test_a_base_that_cannot_be_served_ends_the_start_with_a_sentence(
    whole: Path, tmp_path: Path, spoil: Callable[[Path], None], said: str
) -> None:
    folder = shutil.copytree(whole, tmp_path / "base")
    spoil(folder)
    flags = ["--model", str(folder), "--adapters", str(tmp_path / "none"), "--port", "0"]
    ended = subprocess.run(
        [str(Path(sys.executable).with_name("veneer")), "serve", *flags],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert ended.returncode == 78, ended.stderr
    assert said in " ".join(ended.stderr.split())
    assert "Traceback" not in ended.stderr
    assert "root cause above" not in ended.stderr
