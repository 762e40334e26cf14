"""Train the demo adapters again, by what a fine-tuning job runs: its rows, its trainer.

All seeds are fixed, so every run on the same machine does the same.
"""

import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from conversations import (
    ADAPTERS,
    DEFAULT_MODEL,
    NAMES,
    NotReady,
    base_model,
    load_rows,
    render,
)
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from veneer_server.engine import cpu
from veneer_server.training.folder import JobFolder, read_json
from veneer_server.training.job import Job, Lora, Means
from veneer_server.training.jobs.trainable import to_precision
from veneer_server.training.rows.checking import check
from veneer_server.training.rows.messages import Message
from veneer_server.training.rows.preparing import Places, prepare
from veneer_server.training.rows.rows import Method

BASE_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
MOST_TOKENS = 2048
SEED = 17
LOOK_S = 1.0

console = Console(stderr=True)


@dataclass(frozen=True)
class Recipe:
    """What differs between the adapters, in the words of ``veneer train``."""

    epochs: int
    batch: int = 8
    rank: int = 8
    rate: float = 1e-3


RECIPES = {
    "pirate": Recipe(epochs=5),
    "json-extractor": Recipe(epochs=1, batch=4),
    "haiku": Recipe(epochs=8),
    "tool-caller": Recipe(epochs=1, batch=4),
}


class Rendered:
    """The served tokenizer and chat template, without a server."""

    def __init__(self, base: Path) -> None:
        from transformers import AutoTokenizer

        self._tokenizer: Any = AutoTokenizer.from_pretrained(base)

    @property
    def stops(self) -> Sequence[int]:
        """Return the token that ends an answer."""
        return (self._tokenizer.eos_token_id,)

    async def text(
        self, messages: Sequence[Message], tools: Sequence[dict[str, Any]], *, ask: bool
    ) -> str:
        """Return what the template writes."""
        return render(self._tokenizer, {"tools": list(tools)}, list(messages), ask=ask)

    async def tokens(self, text: str, *, special: bool = False) -> list[int]:
        """Return the tokens of a text."""
        found: list[int] = self._tokenizer.encode(text, add_special_tokens=special)
        return found


def write_job(name: str, base: Path, threads: int, folder: Path) -> None:
    """Write the job of adapter ``name`` into ``folder``; ``rows.jsonl`` is its training file."""
    recipe, rows = RECIPES[name], folder / "rows.jsonl"
    folder.mkdir(parents=True, exist_ok=True)
    told = load_rows(ADAPTERS / name / "train.jsonl")
    rows.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in told))
    checked = check(rows, Method.SUPERVISED)
    places = Places(folder / "train.jsonl")
    made = asyncio.run(prepare(checked, Rendered(base), places, most_tokens=MOST_TOKENS)).trained
    console.print(f"{name}: {made.rows} rows, {made.tokens} tokens, {made.learned} of them learned")
    precision = to_precision("auto", "cpu", cpu.instructions())
    Job(
        id=name,
        base=base,
        base_id=BASE_ID,
        train=places.train,
        seed=SEED,
        epochs=recipe.epochs,
        batch_size=recipe.batch,
        learning_rate=recipe.rate,
        checkpoint_steps=50,
        lora=Lora(r=recipe.rank, alpha=2 * recipe.rank),
        means=Means(threads=threads, precision=precision),
    ).write(folder)


def run(name: str, folder: Path) -> None:
    """Run the trainer in ``folder`` to the end of the job, with a progress bar."""
    command = [sys.executable, "-m", "veneer_server.training.child", str(folder)]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with (
        Progress(*columns, TimeRemainingColumn(), console=console) as progress,
        subprocess.Popen(command) as trainer,  # noqa: S603 - our own program
    ):
        task = progress.add_task(name, total=None)
        while trainer.poll() is None:
            time.sleep(LOOK_S)
            beat = read_json(JobFolder(folder).heartbeat) or {"step": 0, "total_steps": None}
            progress.update(task, completed=beat["step"], total=beat["total_steps"])
    if trainer.returncode:
        raise typer.Exit(trainer.returncode)


def train(name: str, folder: Path, out: Path) -> None:
    """Train adapter ``name`` in ``folder``, and write its two files to ``out``/``name``."""
    started = time.monotonic()
    run(name, folder)
    made = JobFolder(folder).complete()[-1].adapter
    shutil.copytree(made, out / name, dirs_exist_ok=True)  # the model card stays as it is
    console.print(f"{name}: {time.monotonic() - started:.0f} s")


def main(
    names: Annotated[
        list[str] | None, typer.Argument(help="Adapters to train. Default: all.")
    ] = None,
    model: Annotated[Path, typer.Option(help="Folder of the base model.")] = DEFAULT_MODEL,
    out: Annotated[Path, typer.Option(help="Folder that gets the adapter folders.")] = ADAPTERS,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 2,
    work: Annotated[
        Path | None,
        typer.Option(help="Folder of the jobs; with it an interrupted command goes on."),
    ] = None,
) -> None:
    """Train the demo adapters again from adapters/demo/<name>/train.jsonl.

    The command needs the extra "train" (peft) and the converted base model
    (`make setup`). Each adapter takes some minutes on two cores. The command overwrites its
    adapter_config.json and adapter_model.safetensors; a running `make serve` publishes the new
    revision by itself. It does what `veneer train` does, but needs no server.

    Example: python adapters/demo/training/train.py pirate haiku
    """
    for name in names or NAMES:
        if name not in RECIPES:
            raise typer.BadParameter(
                f"There is no adapter {name!r}; name one of {', '.join(NAMES)}."
            )
    try:
        base = base_model(model)
    except NotReady as missing:
        console.print(f"[red]{missing}")
        raise typer.Exit(1) from missing
    with tempfile.TemporaryDirectory() as aside:
        for name in names or NAMES:
            folder = (work or Path(aside)) / name
            write_job(name, base, threads, folder)
            train(name, folder, out)


if __name__ == "__main__":
    typer.run(main)
