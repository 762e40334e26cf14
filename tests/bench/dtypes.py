"""How fast is the embedded model in bfloat16 and in float32, and how right are its answers?

    python tests/bench/dtypes.py [--rounds 5] [--dtypes bfloat16 float32]

A real server for each dtype, both at once, asked in turn, in alternating rounds: so what else the
machine does falls on both. Speed is the tokens per second of 1 and of 8 streams of the base and of
an adapter, and of a prompt of 512; ``cpu`` is the processor time of the engine for a token, in
milliseconds. The ratio is the median of those of the rounds. Then each dtype answers the held-out
rows of two demo adapters, and the loss is that of the right answers to them, in nats a token.
"""

import argparse
import itertools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2] / "adapters/demo/training"))

import answering
import conversations
import evaluate
import scoring

from support.places import DEMO
from support.serving import Served, start_process

BASE = evaluate.BASE_ID
STREAMS = {1: 32, 8: 16}
"""Tokens of each stream, by how many there are."""
SMALL = {
    "VENEER_ADAPTERS__DEVICE_SLOTS": "8",
    "VENEER_ADAPTERS__MAX_RANK": "16",
    "VENEER_ENGINE__ARGS": json.dumps({"enable_prefix_caching": False}),
}
"""Of the servers, so that both have room."""
SCORED = ("json-extractor", "tool-caller")
Figures = dict[str, tuple[float, float]]


def engine_cpu_s(served: Served) -> float:
    """Return the processor time of the process that computes."""
    assert served.process is not None
    children = psutil.Process(served.process.pid).children(recursive=True)
    worker = next(child for child in children if "VLLM::Worker" in " ".join(child.cmdline()))
    return sum(worker.cpu_times()[:2])


def speeds(served: Served, seeds: Iterator[int]) -> Figures:
    """Return tokens per second and the engine's milliseconds for a token, of each kind."""

    def one(model: str, prompt: list[int], tokens: int) -> None:
        body = {"model": model, "prompt": prompt, "max_tokens": tokens, "temperature": 0}
        answer = httpx.post(
            f"{served.url}/v1/completions", json={**body, "ignore_eos": True}, timeout=300
        )
        assert answer.status_code == 200, answer.text

    def timed(model: str, prompts: list[list[int]], each: int, tokens: int) -> tuple[float, float]:
        began, before = time.perf_counter(), engine_cpu_s(served)
        with ThreadPoolExecutor(len(prompts)) as threads:
            for done in [threads.submit(one, model, prompt, each) for prompt in prompts]:
                done.result()
        took, used = time.perf_counter() - began, engine_cpu_s(served) - before
        return tokens / took, 1000 * used / tokens

    found: Figures = {}
    for model in (BASE, "haiku"):
        for streams, each in STREAMS.items():
            prompts = [[next(seeds)] * 8 for _ in range(streams)]
            found[f"{model}, {streams} streams"] = timed(model, prompts, each, streams * each)
        found[f"{model}, a prompt of 512"] = timed(
            model, [[next(seeds), *range(600, 1111)]], 1, 512
        )
    return found


def exact(served: Served, name: str) -> str:
    """Return how many held-out rows of a demo adapter it answers rightly."""
    answer = answering.served(f"{served.url}/v1", BASE, "none")
    rows = conversations.load_rows(conversations.HELDOUT / f"{name}.jsonl")
    replies = zip(answer(name, rows), rows, strict=True)
    right = [scoring.RULES[name](reply, row["expected"]) for reply, row in replies]
    return f"{sum(right)} of {len(right)}"


def loss(served: Served, tokenizer: Any, name: str) -> float:
    """Return the mean loss of the right answers to the held-out rows of ``name``."""
    total, tokens = 0.0, 0
    for row in conversations.load_rows(conversations.HELDOUT / f"{name}.jsonl"):
        if row["expected"] is None:
            continue
        asked = conversations.render(tokenizer, row, row["messages"], ask=True)
        whole = conversations.render(tokenizer, row, [*row["messages"], right(row)], ask=False)
        start = len(tokenizer(asked, add_special_tokens=False).input_ids)
        body = {"model": name, "prompt": whole, "max_tokens": 1, "echo": True, "logprobs": 0}
        answer = httpx.post(f"{served.url}/v1/completions", json=body, timeout=300).json()
        known = answer["choices"][0]["logprobs"]["token_logprobs"][start:-1]
        total, tokens = total - sum(known), tokens + len(known)
    return total / tokens


def right(row: dict[str, Any]) -> dict[str, Any]:
    """Return the turn that is the right answer to a held-out row."""
    if not row.get("tools"):
        return {"role": "assistant", "content": json.dumps(row["expected"])}
    call = {**row["expected"], "arguments": json.dumps(row["expected"]["arguments"])}
    return {"role": "assistant", "content": "", "tool_calls": [{"function": call}]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dtypes", nargs=2, default=["bfloat16", "float32"])
    asked = parser.parse_args()
    with ExitStack() as stack:
        servers = {}
        for dtype in asked.dtypes:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            environ = {"VENEER_MODEL__DTYPE": dtype, **SMALL}
            started = start_process(folder, roots=[DEMO], environ=environ)
            servers[dtype] = stack.enter_context(started)
        compare(servers, asked.rounds)


def compare(servers: dict[str, Served], rounds: int) -> None:
    """Print what each server does, and the ratio of the second to the first."""
    seeds, found = iter(range(1000, 40_000)), {dtype: [] for dtype in servers}
    for number in range(rounds + 1):
        for dtype in list(servers)[:: 1 if number % 2 else -1]:
            found[dtype].append(speeds(servers[dtype], seeds))
            print(number, dtype, found[dtype][-1], flush=True)
    first, second = servers
    pairs = list(zip(found[first], found[second], strict=True))[1:]  # the first round loads
    for kind in pairs[0][0]:
        speed, cpu = ([(a[kind][i], b[kind][i]) for a, b in pairs] for i in (0, 1))
        print(
            f"{kind:32} tok/s {middle(speed)}, cpu {middle(cpu)}",
            f"ratios {[round(b / a, 2) for a, b in speed]}",
            flush=True,
        )
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(conversations.DEFAULT_MODEL.expanduser())
    for name, (dtype, served) in itertools.product(SCORED, servers.items()):
        print(name, dtype, "exact", exact(served, name), flush=True)
        print(name, dtype, "loss", round(loss(served, tokenizer, name), 5), flush=True)


def middle(pairs: list[tuple[float, float]]) -> str:
    """Return the medians of both sides, and that of their ratios."""
    one, other = (statistics.median(side) for side in zip(*pairs, strict=True))
    ratio = statistics.median(b / a for a, b in pairs)
    return f"{one:8.2f} {other:8.2f} x{ratio:.2f}"


if __name__ == "__main__":
    main()
