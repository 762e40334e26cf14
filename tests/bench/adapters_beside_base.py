"""What do adapters cost? The base's speed over theirs, by the dtype in which they are kept.

    python tests/bench/adapters_beside_base.py [--rounds 10] [--kept bfloat16 float32] [--rank 16]

A real server with the embedded model in float32 for each dtype of adapters, all at once, asked in
turn; in each round a server's base and its adapters are asked right after one another. A ratio is
that of the two times of one round, and the figures are its median and quartiles: what else the
machine does falls on both. Adapters are random, on all seven modules.
"""

import argparse
import itertools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.serving import Served, start_process
from veneer_server.bench.peers.adapters import Shelf, shape_of
from veneer_server.engine.vllm import embedded

NAMES = [f"a{number:02}" for number in range(32)]
TOKENS = 24
"""Of each of the streams."""
PROMPT = 512
Case = tuple[str, int, int]
"""What it is called, how many streams, over how many adapters."""
CASES: Sequence[Case] = (
    ("32 streams, 1 adapter", 32, 1),
    ("32 streams, 8 adapters", 32, 8),
    ("32 streams, 32 adapters", 32, 32),
    ("1 stream", 1, 1),
    (f"a prompt of {PROMPT}", 0, 1),
)


def seconds(served: Served, models: Sequence[str], case: Case, seeds: Iterator[int]) -> float:
    """Return how long ``case`` takes when its streams ask ``models`` in turn."""
    _, streams, _ = case
    prompt = [600 + next(seeds) % 30_000, *range(600, 600 + (7 if streams else PROMPT - 1))]

    def ask(model: str) -> None:
        body = {"model": model, "prompt": prompt, "max_tokens": TOKENS if streams else 1}
        answer = httpx.post(
            f"{served.url}/v1/completions", json={**body, "ignore_eos": True}, timeout=300
        )
        assert answer.status_code == 200, answer.text

    asked = list(itertools.islice(itertools.cycle(models), max(streams, 1)))
    began = time.perf_counter()
    with ThreadPoolExecutor(len(asked)) as threads:
        for done in [threads.submit(ask, model) for model in asked]:
            done.result()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--kept", nargs="+", default=["bfloat16", "float32"])
    parser.add_argument("--rank", type=int, default=16)
    asked = parser.parse_args()
    with ExitStack() as stack:
        shelf = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        Shelf(shelf, shape_of(embedded.ensure_checkpoint())).take(NAMES, asked.rank, strength=0.05)
        servers = {}
        for dtype in asked.kept:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            servers[dtype] = stack.enter_context(
                start_process(folder, roots=[shelf], environ=environ(dtype, asked.rank))
            )
        compare(servers, asked.rounds)


def environ(dtype: str, rank: int) -> dict[str, str]:
    """Return the settings of the server that keeps its adapters in ``dtype``."""
    kept = {} if dtype == "float32" else {"lora_dtype": dtype}
    return {
        "VENEER_MODEL__DTYPE": "float32",
        "VENEER_ADAPTERS__MAX_RANK": str(rank),
        "VENEER_ENGINE__ARGS": json.dumps({"enable_prefix_caching": False, **kept}),
    }


def compare(servers: dict[str, Served], rounds: int) -> None:
    """Print the base's time over that of adapters, for each server and case."""
    seeds = itertools.count()
    found: dict[tuple[str, str], list[float]] = {}
    for number in range(rounds + 1):
        for case, (dtype, served) in itertools.product(CASES, servers.items()):
            base = seconds(served, [embedded.NAME], case, seeds)
            adapters = seconds(served, NAMES[: case[2]], case, seeds)
            if number:  # the first round loads them
                found.setdefault((case[0], dtype), []).append(base / adapters)
    for (case, dtype), ratios in found.items():
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(f"{case:24} kept in {dtype:9} {middle:.2f} ({low:.2f}-{high:.2f})", flush=True)


if __name__ == "__main__":
    main()
