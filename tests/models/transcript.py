"""Serves tiny models with an adapter as a person would, and prints what that person sees.

    python tests/models/transcript.py [phi-3 gpt-neox qwen3-moe] [--record]

It needs what `make models` needs. ``--record`` writes what was seen into docs/models.md.
"""

import contextlib
import io
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from models import matrix
from models.making import (
    add_expert_weights,
    kinds_of,
    linear_names,
    make_adapter,
    make_model,
)
from models.table import MODELS, Model
from support.serving import POLL_S, Served, start_process

USUAL = ("phi-3", "gpt-neox", "qwen3-moe")
ASKED = '{"model": "%s", "prompt": "once upon", "max_tokens": 8, "temperature": 0}'
EXPERT, SHAPE = "model.layers.0.mlp.experts.0.gate_proj", (256, 96)
HEAD = """## What a start says, and three bases and their answers

`python tests/models/transcript.py --record` has made tiny random models and adapters, served each
base as below on a CPU, and written this. The models are random, and so is what they say; what an
adapter changes is not. `mine` fits its base, and `other` does not.
"""


def main(arguments: list[str]) -> None:
    names = [name for name in arguments if not name.startswith("--")] or USUAL
    said = io.StringIO()
    with contextlib.redirect_stdout(said) if "--record" in arguments else contextlib.nullcontext():
        print(HEAD)
        for name in names:
            with tempfile.TemporaryDirectory() as folder:
                show(name, Path(folder))
    if "--record" in arguments:
        matrix.STARTS.write_text(said.getvalue())
        matrix.PAGE.write_text(matrix.page())


def show(name: str, folder: Path) -> None:
    """Print one start, and the answers of the base and of two adapters."""
    model = MODELS[name]
    made = make_model(model, folder / name)
    kind = "linear" if model.mlp else "attention"
    config = kinds_of(model, linear_names(made))[kind]
    adapters = folder / "my-adapters"
    make_adapter(made, adapters / "mine", seed=1, **config).unload()
    make_other(made, model, adapters / "other")
    print(f"### {name}: `mine` changes {kind}, rank {config['r']}\n\n```")
    print(f"$ VENEER_MODEL__DTYPE=float32 veneer serve --model {name}")
    flags, environ = ["--model", str(folder / name)], {"VENEER_MODEL__DTYPE": "float32"}
    with start_process(folder, flags=flags, environ=environ) as served:
        print(told(served, folder), end="\n\n")
        ask(served, "/version")
        for asked in (name, "mine"):
            ask(served, "/v1/completions", ASKED % asked)
        until_refused(served, "other")
        ask(served, "/v1/completions", ASKED % "other")
    print("```\n")


def make_other(made: Any, model: Model, folder: Path) -> None:
    """Write an adapter that does not fit the base: of a mixture's experts, or of more layers."""
    first = linear_names(made)[0]
    make_adapter(made, folder, seed=2, r=4, lora_alpha=8, target_modules=[first]).unload()
    more = EXPERT if not model.mlp else re.sub(r"layers\.\d+", "layers.7", first)
    add_expert_weights(folder, more, SHAPE)


def until_refused(served: Served, name: str) -> None:
    """Return when the server has looked at the adapter ``name`` and will not serve it."""
    for _ in range(600):
        told_now = fetch(served, "/v1/adapters")[1]
        states = {one["name"]: one for one in json.loads(told_now)["data"]}
        if "failed" in json.dumps(states.get(name, {})):
            return
        time.sleep(POLL_S)
    raise AssertionError(f"{name} was not refused")


def told(served: Served, folder: Path) -> str:
    """Return what the start said that is about the model, without the places of this machine."""
    assert served.log is not None
    said = served.log.read_text()
    wanted = r"Memory:|At once:|To change:|Started in|Transformers"
    lines = [line for line in said.splitlines() if re.search(wanted, line)]
    return "\n".join(lines).replace(f"{folder}/", "")


def ask(served: Served, path: str, body: str | None = None) -> None:
    """Print a call of curl and its answer."""
    shown = "" if body is None else f" -d '{body}'"
    print(f"$ curl -i $URL{path}{shown}")
    print("\n".join(fetch(served, path, body)), end="\n\n")


def fetch(served: Served, path: str, body: str | None = None) -> tuple[str, str]:
    """Return the status and our headers of an answer, and its text."""
    more = [] if body is None else ["-H", "content-type: application/json", "-d", body]
    command = ["curl", "-sSi", "--max-time", "60", served.url + path, *more]
    answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    head, _, text = answer.partition("\n\n")
    kept = [line for line in head.splitlines() if line.startswith(("HTTP", "x-veneer"))]
    return "\n".join(kept), text


if __name__ == "__main__":
    main(sys.argv[1:])
