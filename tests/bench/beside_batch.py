"""What live streams get beside a batch: their first token and their gaps, with it and without.

    python tests/bench/beside_batch.py [--rounds 3] [--seconds 40] [--users 2]

A real server with the embedded model and the four demo adapters. So many users stream answers of
32 tokens without pause but a short one to think. Each round measures them alone and then beside a
batch of long lines over all five models; ratios are taken in a round.
"""

import argparse
import asyncio
import random
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import httpx

from support import batching
from support.places import DEMO
from support.serving import start_process

MODELS = ("pirate", "haiku", "json-extractor", "tool-caller", "smollm2-135m-instruct")
SUBJECTS = ("a lighthouse", "an old bridge", "the night train", "bees in June", "a lost letter")
TOKENS, LINE_TOKENS, LINES = 32, 64, 2000


@dataclass
class Tally:
    """What one phase gave."""

    first_s: list[float] = field(default_factory=list)
    gaps_s: list[float] = field(default_factory=list)
    lines: int = 0

    def figures(self) -> list[float]:
        """Return the median and the 95th percentile of first tokens and of gaps, in ms."""
        return [
            1000 * figure
            for times in (self.first_s, self.gaps_s)
            for figure in (statistics.median(times), statistics.quantiles(times, n=20)[-1])
        ]


async def stream(client: httpx.AsyncClient, model: str, number: int, tally: Tally) -> None:
    about = f"{SUBJECTS[number % 5]} and the number {number}"
    body = {
        "model": model,
        "messages": [{"role": "user", "content": f"Write a short text on {about}, for a child."}],
        "max_tokens": TOKENS,
        "ignore_eos": True,
        "stream": True,
    }
    last_s = began_s = time.perf_counter()
    async with client.stream("POST", batching.CHAT, json=body) as answer:
        assert answer.status_code == 200, await answer.aread()
        async for line in answer.aiter_lines():
            if '"content":"' not in line or '"content":""' in line:
                continue
            now_s = time.perf_counter()
            (tally.first_s if last_s == began_s else tally.gaps_s).append(now_s - last_s)
            last_s = now_s


async def user(client: httpx.AsyncClient, seed: int, until_s: float, tally: Tally) -> None:
    chance = random.Random(seed)  # noqa: S311 - the same traffic each time
    while time.perf_counter() < until_s:
        await stream(client, chance.choice(MODELS), chance.randrange(10**6), tally)
        await asyncio.sleep(chance.uniform(0.1, 0.5))


async def phase(client: httpx.AsyncClient, users: int, seconds: float, seed: int) -> Tally:
    tally = Tally()
    until_s = time.perf_counter() + seconds
    await asyncio.gather(*(user(client, seed + one, until_s, tally) for one in range(users)))
    return tally


def line(number: int) -> dict[str, object]:
    said = [{"role": "user", "content": f"Tell me a long story about number {number}. " * 4}]
    return batching.line(
        number, MODELS[number % 5], messages=said, max_tokens=LINE_TOKENS, ignore_eos=True
    )


async def with_batch(client: httpx.AsyncClient, users: int, seconds: float, seed: int) -> Tally:
    batch = await batching.create(client, map(line, range(LINES)))
    async with asyncio.timeout(60):
        while not (await batching.look(client, batch["id"]))["request_counts"]["completed"]:
            await asyncio.sleep(0.2)
    before = (await batching.look(client, batch["id"]))["request_counts"]["completed"]
    tally = await phase(client, users, seconds, seed)
    after = (await batching.look(client, batch["id"]))["request_counts"]["completed"]
    tally.lines = after - before
    await client.post(f"/v1/batches/{batch['id']}/cancel")
    await batching.ended(client, batch["id"], within_s=120)
    return tally


async def measure(url: str, rounds: int, users: int, seconds: float) -> None:
    print("| round | batch | requests | first p50 | p95 | gap p50 | p95, ms | lines/s |")
    print("|---|---|---|---|---|---|---|---|")
    ratios = []
    async with httpx.AsyncClient(base_url=url, timeout=600) as client:
        await asyncio.gather(*(stream(client, model, 1, Tally()) for model in MODELS))
        for number in range(rounds):
            alone = await phase(client, users, seconds, 100 * number)
            beside = await with_batch(client, users, seconds, 100 * number)
            for name, tally in (("no", alone), ("yes", beside)):
                shown = " | ".join(f"{figure:.1f}" for figure in tally.figures())
                rate = f"{tally.lines / seconds:.2f}"
                print(
                    f"| {number} | {name} | {len(tally.first_s)} | {shown} | {rate} |", flush=True
                )
            pairs = zip(beside.figures(), alone.figures(), strict=True)
            ratios.append([with_it / without for with_it, without in pairs])
    middle = [statistics.median(column) for column in zip(*ratios, strict=True)]
    print("median ratio: " + ", ".join(f"{ratio:.2f}" for ratio in middle))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=40)
    parser.add_argument("--users", type=int, default=2)
    asked = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        start_process(Path(folder), roots=[DEMO]) as served,
    ):
        asyncio.run(measure(served.url, asked.rounds, asked.users, asked.seconds))


if __name__ == "__main__":
    main()
