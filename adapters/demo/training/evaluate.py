"""Measures each demo adapter against the base on held-out rows, greedy: one number for each."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from answering import TOGETHER, Answer, local, served
from conversations import (
    ADAPTERS,
    DEFAULT_MODEL,
    HELDOUT,
    NAMES,
    BaseModelMissing,
    base_model,
    load_rows,
)
from overlap import Overlap, check
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scoring import RULES

BASE_ID = "smollm2-135m-instruct"
MEASURES = {
    "pirate": "two or more pirate words",
    "json-extractor": "valid JSON, all three values right",
    "haiku": "three lines of plausible length",
    "tool-caller": "right function and arguments, or rightly none",
}

console = Console(stderr=True)


def scores(name: str, answer: Answer, limit: int | None) -> Iterator[dict[str, Any]]:
    """Yield for base and adapter each held-out row with its answer and whether it is right."""
    rows = load_rows(HELDOUT / f"{name}.jsonl")
    check(rows, load_rows(ADAPTERS / name / "train.jsonl"))
    rows = rows[:limit]
    starts = range(0, len(rows), TOGETHER)
    for model in (None, name):
        for start in track(starts, f"{name} by {model or 'base'}", console=console):
            some = rows[start : start + TOGETHER]
            for row, reply in zip(some, answer(model, some), strict=True):
                yield {
                    "by": "adapter" if model else "base",
                    "question": row["messages"][-1]["content"],
                    "text": reply.text,
                    "calls": [vars(call) for call in reply.calls],
                    "right": RULES[name](reply, row["expected"]),
                }


def summary(name: str, found: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the shares that are right, and every answer."""
    shares = {}
    for by in ("base", "adapter"):
        right = [score["right"] for score in found if score["by"] == by]
        shares[by] = sum(right) / len(right)
    return {"name": name, "measure": MEASURES[name], "rows": len(right), **shares}


def table(results: list[dict[str, Any]]) -> Table:
    """Return the shares as a table for people."""
    drawn = Table("adapter", "measure", "rows", "base", "adapter", title="Held-out, greedy")
    for result in results:
        shares = (f"{result[by]:.0%}" for by in ("base", "adapter"))
        drawn.add_row(result["name"], result["measure"], str(result["rows"]), *shares)
    return drawn


def main(
    names: Annotated[
        list[str] | None, typer.Argument(help="Which adapters; all when none.")
    ] = None,
    model: Annotated[Path, typer.Option(help="Folder of the base model.")] = DEFAULT_MODEL,
    base_url: Annotated[str, typer.Option(help="Ask this server, as http://host/v1.")] = "",
    base_id: Annotated[str, typer.Option("--base-model", help="Its id of the base.")] = BASE_ID,
    api_key: Annotated[str, typer.Option(envvar="OPENAI_API_KEY")] = "none",
    limit: Annotated[int | None, typer.Option(help="Only the first rows of each.")] = None,
    answers: Annotated[bool, typer.Option(help="Print every answer too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure the demo adapters on rows that share nothing with their training data.

    First it checks just that, and fails where a name, city, job, topic, function or sentence
    frame of a held-out row occurs in training. Without --base-url the adapters run here by
    transformers and peft; with it a server answers, Veneer or any other that is compatible.

    Example: python adapters/demo/training/evaluate.py pirate --base-url http://127.0.0.1:8000/v1
    """
    wanted = names or list(NAMES)
    for name in wanted:
        if name not in RULES:
            raise typer.BadParameter(f"no adapter {name!r}; there are {', '.join(NAMES)}")
    try:
        if base_url:
            answer = served(base_url, base_id, api_key)
        else:
            answer = local(base_model(model), wanted)
        found = {name: list(scores(name, answer, limit)) for name in wanted}
    except (BaseModelMissing, Overlap, httpx.HTTPError) as failed:
        console.print(f"[red]{failed}")
        raise typer.Exit(1) from failed
    report(found, answers=answers, as_json=as_json)


def report(found: dict[str, list[dict[str, Any]]], *, answers: bool, as_json: bool) -> None:
    """Print the results to standard output: a table, or JSON for programs."""
    results = [summary(name, scored) for name, scored in found.items()]
    if answers:
        for result in results:
            result["answers"] = found[result["name"]]
    if as_json:
        print(json.dumps(results, ensure_ascii=False, indent=1))
        return
    out = Console()
    for scored in found.values() if answers else ():
        for score in scored:
            out.print_json(json.dumps(score, ensure_ascii=False))
    out.print(table(results))


if __name__ == "__main__":
    typer.run(main)
