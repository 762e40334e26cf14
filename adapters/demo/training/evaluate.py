"""Measure each demo adapter and the base on held-out rows, greedily: one number for each."""

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
    NotReady,
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
    """Yield every held-out row twice, answered by the base and by the adapter.

    Each comes with the answer and with whether the answer is right.
    """
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
    """Return the share of right answers of the base and of the adapter."""
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
        list[str] | None, typer.Argument(help="Adapters to measure. Default: all.")
    ] = None,
    model: Annotated[Path, typer.Option(help="Folder of the base model.")] = DEFAULT_MODEL,
    base_url: Annotated[str, typer.Option(help="Ask this server: http://HOST/v1.")] = "",
    base_id: Annotated[
        str, typer.Option("--base-model", help="Id of the base model on that server.")
    ] = BASE_ID,
    api_key: Annotated[str, typer.Option(envvar="OPENAI_API_KEY")] = "none",
    limit: Annotated[
        int | None, typer.Option(help="Only the first LIMIT rows of each adapter.")
    ] = None,
    answers: Annotated[bool, typer.Option(help="Also print every answer.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure the demo adapters on rows that share nothing with their training data.

    The command first checks that they share nothing. It fails if a name, city, job, topic,
    function or sentence frame of a held-out row occurs in training. Without --base-url the
    adapters run in this process with transformers and peft. With --base-url a server answers:
    Veneer, or any other OpenAI-compatible server.

    Example: python adapters/demo/training/evaluate.py pirate --base-url http://127.0.0.1:8000/v1
    """
    wanted = names or list(NAMES)
    for name in wanted:
        if name not in RULES:
            raise typer.BadParameter(
                f"There is no adapter {name!r}; name one of {', '.join(NAMES)}."
            )
    try:
        if base_url:
            answer = served(base_url, base_id, api_key)
        else:
            answer = local(base_model(model), wanted)
        found = {name: list(scores(name, answer, limit)) for name in wanted}
    except (NotReady, Overlap, httpx.HTTPError) as failed:
        console.print(f"[red]{failed}")
        raise typer.Exit(1) from failed
    report(found, answers=answers, as_json=as_json)


def report(found: dict[str, list[dict[str, Any]]], *, answers: bool, as_json: bool) -> None:
    """Print the results on standard output: a table for people, or JSON for programs."""
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
