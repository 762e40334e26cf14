"""Train the demo adapters again, with peft on the CPU.

Each takes some minutes. All seeds are fixed, so every run does the same.
"""

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from conversations import (
    ADAPTERS,
    DEFAULT_MODEL,
    NAMES,
    BaseModelMissing,
    base_model,
    load_rows,
    turns,
)
from peft import LoraConfig, get_peft_model
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from transformers import AutoModelForCausalLM, AutoTokenizer

from veneer_server.training.child.checkpoints import export
from veneer_server.training.child.loss import Losses, to_batch
from veneer_server.training.recipes import rate_at
from veneer_server.training.rows.examples import Example

BASE_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
BATCHES_SORTED_TOGETHER = 8
SEED = 17

console = Console(stderr=True)


@dataclass(frozen=True)
class Recipe:
    """What differs between the adapters: the modules, the rank, and how long they train."""

    steps: int
    batch: int = 8
    modules: tuple[str, ...] = ("q_proj", "v_proj", "o_proj")
    rank: int = 8
    alpha: int = 16
    peak_rate: float = 1e-3


# The attention copies words from the prompt, so the extractor trains all its four matrices.
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")

RECIPES = {
    "pirate": Recipe(steps=80),
    "json-extractor": Recipe(steps=160, modules=ATTENTION, rank=6),
    "haiku": Recipe(steps=160),
    "tool-caller": Recipe(steps=160, batch=4),
}


def examples_of(tokenizer: Any, path: Path) -> list[Example]:
    """Return one example for each assistant turn in ``path``."""
    found = []
    for row in load_rows(path):
        for turn in turns(tokenizer, row):
            # Two calls, because a server tokenizes the prompt before the answer exists.
            prompt = tokenizer.encode(turn.prompt, add_special_tokens=False)
            answer = tokenizer.encode(turn.answer, add_special_tokens=False)
            ids = prompt + answer
            found.append(Example(ids, ((len(prompt), len(ids)),)))
    return found


def batches(examples: list[Example], recipe: Recipe) -> Iterator[list[Example]]:
    """Yield the recipe's batches in a fixed random order; its examples have similar lengths."""
    rng = random.Random(SEED)
    size = recipe.batch
    deck: list[Example] = []
    ready: list[list[Example]] = []
    for _ in range(recipe.steps):
        if not ready:
            if len(deck) < size * BATCHES_SORTED_TOGETHER:
                deck += rng.sample(examples, len(examples))
            # Sorting small heaps saves padding (a third of the time) and keeps the order random.
            heap = [deck.pop(0) for _ in range(size * BATCHES_SORTED_TOGETHER)]
            heap.sort(key=lambda example: len(example.ids))
            ready = [heap[i : i + size] for i in range(0, len(heap), size)]
            rng.shuffle(ready)
        yield ready.pop()


def fit(name: str, model: Any, examples: list[Example]) -> None:
    """Train the LoRA weights of ``model`` in place, with a progress bar that shows the loss."""
    recipe, losses = RECIPES[name], Losses(model)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, weight_decay=0.0)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task(name, total=recipe.steps)
        for step, batch in enumerate(batches(examples, recipe)):
            for group in optimizer.param_groups:
                group["lr"] = rate_at(step, recipe.steps, recipe.peak_rate)
            # The weights stay in fp32; bf16 in the matmuls makes a step three times faster.
            with torch.autocast("cpu", torch.bfloat16):
                loss = losses.score(to_batch(batch)).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            optimizer.zero_grad()
            progress.update(task, advance=1, description=f"{name}  loss {loss.item():.3f}")


def train(name: str, base: Path, out: Path) -> None:
    """Train adapter ``name`` from its train.jsonl and write it to ``out``/``name``."""
    torch.manual_seed(SEED)
    recipe = RECIPES[name]
    tokenizer = AutoTokenizer.from_pretrained(base)
    config = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        target_modules=list(recipe.modules),
        task_type="CAUSAL_LM",
    )
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), config)
    examples = examples_of(tokenizer, ADAPTERS / name / "train.jsonl")
    started = time.monotonic()
    fit(name, model, examples)
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    export(model, config, BASE_ID, folder)  # the model card (README.md) stays as it is
    size = (folder / "adapter_model.safetensors").stat().st_size
    seconds = time.monotonic() - started
    console.print(f"{name}: {len(examples)} examples, {seconds:.0f} s, {size / 1e6:.2f} MB")


def main(
    names: Annotated[
        list[str] | None, typer.Argument(help="Adapters to train. Default: all.")
    ] = None,
    model: Annotated[Path, typer.Option(help="Folder of the base model.")] = DEFAULT_MODEL,
    out: Annotated[Path, typer.Option(help="Folder that gets the adapter folders.")] = ADAPTERS,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 2,
) -> None:
    """Train the demo adapters again from adapters/demo/<name>/train.jsonl.

    The command needs the extra "train" (peft) and the converted base model
    (`make setup`). Each adapter takes a few minutes on two cores. The command overwrites its
    adapter_config.json and adapter_model.safetensors; a running `make serve` publishes the new
    revision by itself. On a busy machine set OMP_WAIT_POLICY=PASSIVE, so that waiting threads do
    not spin: in a measurement spinning took three quarters of the CPU time.

    Example: python adapters/demo/training/train.py pirate haiku
    """
    for name in names or NAMES:
        if name not in RECIPES:
            raise typer.BadParameter(
                f"There is no adapter {name!r}; name one of {', '.join(NAMES)}."
            )
    try:
        base = base_model(model)
    except BaseModelMissing as missing:
        console.print(f"[red]{missing}")
        raise typer.Exit(1) from missing
    torch.set_num_threads(threads)
    for name in names or NAMES:
        train(name, base, out)


if __name__ == "__main__":
    typer.run(main)
