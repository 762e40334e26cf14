"""Serves tiny models with an adapter as a person would, and prints what that person sees.

    python tests/models/transcript.py [phi-3 gpt-neox qwen3-moe]

It needs what `make models` needs. docs/models.md has its output, shortened.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from models.making import kinds_of, linear_names, make_adapter, make_model
from models.table import MODELS
from support.serving import Served, start_process

USUAL = ("phi-3", "gpt-neox", "qwen3-moe")
ASKED = '{"model": "%s", "prompt": "once upon", "max_tokens": 8, "temperature": 0}'


def main(names: list[str]) -> None:
    for name in names or USUAL:
        with tempfile.TemporaryDirectory() as folder:
            show(name, Path(folder))


def show(name: str, folder: Path) -> None:
    """Print one start, and the answers of the base and of an adapter."""
    model = MODELS[name]
    made = make_model(model, folder / name)
    kind = "linear" if model.mlp else "attention"
    config = kinds_of(model, linear_names(made))[kind]
    make_adapter(made, folder / "my-adapters" / "mine", seed=1, **config).unload()
    print(f"## {name}: an adapter of {kind}, rank {config['r']}\n")
    print(f"$ VENEER_MODEL__DTYPE=float32 veneer serve --model {name}")
    flags, environ = ["--model", str(folder / name)], {"VENEER_MODEL__DTYPE": "float32"}
    with start_process(folder, flags=flags, environ=environ) as served:
        print(told(served, folder), end="\n\n")
        ask(served, "/v1/models")
        for asked in (name, "mine"):
            ask(served, "/v1/completions", ASKED % asked)


def told(served: Served, folder: Path) -> str:
    """Return what the start said that is about the model, without the places of this machine."""
    assert served.log is not None
    said = served.log.read_text()
    wanted = r"Memory:|At once:|To change:|Started in|Transformers"
    lines = [line for line in said.splitlines() if re.search(wanted, line)]
    return "\n".join(lines).replace(f"{folder}/", "")


def ask(served: Served, path: str, body: str | None = None) -> None:
    """Print a call of curl and its answer."""
    more = [] if body is None else ["-H", "content-type: application/json", "-d", body]
    shown = "" if body is None else f" -d '{body}'"
    print(f"$ curl -i $OPENAI_BASE_URL{path.removeprefix('/v1')}{shown}")
    command = ["curl", "-sSi", "--max-time", "60", served.url + path, *more]
    answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    head, _, text = answer.partition("\n\n")
    kept = [line for line in head.splitlines() if line.startswith(("HTTP", "x-veneer"))]
    print("\n".join([*kept, text]), end="\n\n")


if __name__ == "__main__":
    main(sys.argv[1:])
