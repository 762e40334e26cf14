"""``veneer serve`` on a base that cannot be served ends with 78 and one sentence."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
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


AT_ONCE = 2
"""Such a start does little but import, on one core."""
Ended = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def endings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Future[Ended]]]:
    """How a start ends on each base; all were begun, ``AT_ONCE`` at a time."""
    whole = tiny.model(tmp_path_factory.mktemp("base") / "tiny")
    with ThreadPoolExecutor(AT_ONCE) as threads:
        yield {
            name: threads.submit(serve, whole, tmp_path_factory.mktemp("refused"), spoil)
            for name, spoil, _ in SPOILED
        }
        threads.shutdown(cancel_futures=True)


def serve(whole: Path, folder: Path, spoil: Callable[[Path], None]) -> Ended:
    """Start a server on a copy of the ``whole`` model that is spoilt; return how it ends."""
    base = shutil.copytree(whole, folder / "base")
    spoil(base)
    flags = ["--model", str(base), "--adapters", str(folder / "none"), "--port", "0"]
    return subprocess.run(
        [str(Path(sys.executable).with_name("veneer")), "serve", *flags],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.mark.parametrize(("name", "said"), [c[::2] for c in SPOILED], ids=[c[0] for c in SPOILED])
def test_a_base_that_cannot_be_served_ends_the_start_with_a_sentence(
    endings: Mapping[str, Future[Ended]], name: str, said: str
) -> None:
    ended = endings[name].result(timeout=280)
    assert ended.returncode == 78, ended.stderr
    assert said in " ".join(ended.stderr.split())
    assert "Traceback" not in ended.stderr
    assert "root cause above" not in ended.stderr
