"""What one tenant can learn of another by the clock: rows T1 and T3.

    python tests/bench/oracles.py [--names 3000] [--prompts 30]

T1, with the echo engine: the time of the 404 for another tenant's adapter, and for a name that
nobody has. T3, with the real engine: the time to the first token of a prompt of 512 tokens and more
that another tenant has just sent, and of one that nobody has sent; and, so that one sees what the
clock can tell, of one that the tenant itself has sent. Each pair is asked in a random order. The
two samples of each pair differ by chance if p is above 0.01 (Mann-Whitney, two-sided).
"""

import argparse
import math
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import httpx

from support import builders
from support.places import DEMO
from support.serving import Served, start_process

OPERATOR = "sk-the-operators-own-key"
ENVIRON = {"VENEER_SERVER__API_KEY": OPERATOR}
DRAW = random.Random(0)  # noqa: S311 - repeatable on purpose
MESSAGE = [{"role": "user", "content": "Hi"}]


def by_chance(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the p of Mann and Whitney's test, by the normal approximation."""
    ranked = sorted((value, side) for side, values in enumerate((a, b)) for value in values)
    ranks = sum(rank for rank, (_, side) in enumerate(ranked, 1) if side == 0)
    n, m = len(a), len(b)
    u = ranks - n * (n + 1) / 2
    z = (u - n * m / 2) / math.sqrt(n * m * (n + m + 1) / 12)
    return math.erfc(abs(z) / math.sqrt(2))


def client(served: Served, tenant: str) -> httpx.Client:
    operator = {"authorization": f"Bearer {OPERATOR}"}
    made = httpx.post(f"{served.url}/v1/keys", json={"tenant": tenant}, headers=operator)
    sent = {"authorization": f"Bearer {made.json()['key']}"}
    return httpx.Client(base_url=served.url, headers=sent, timeout=120)


def interleaved(pairs: Sequence[Sequence[Callable[[], float]]]) -> list[list[float]]:
    """Return the seconds of each side; the sides of each pair are asked in a random order."""
    found: list[list[float]] = [[] for _ in pairs[0]]
    for pair in pairs:
        order = list(enumerate(pair))
        DRAW.shuffle(order)
        for side, act in order:
            found[side].append(act())
    return found


def tell(what: str, one: Sequence[float], other: Sequence[float]) -> None:
    left, right = (statistics.median(each) * 1000 for each in (one, other))
    sys.stdout.write(
        f"| {what} | {len(one)} | {left:.3f} | {right:.3f} | {by_chance(one, other):.3f} |\n"
    )


def names(folder: Path, count: int) -> None:
    """T1: the adapter of another tenant, and a name of the same length that nobody has."""
    theirs, nobodys = "bell/secret-plan", "bell/secret-plum"
    builders.write(folder / "adapters" / theirs, seed=1)
    flags = ["--engine", "echo"]
    with start_process(folder, roots=[folder / "adapters"], environ=ENVIRON, flags=flags) as served:
        acme, bell = client(served, "acme"), client(served, "bell")
        ends_s = time.monotonic() + 60
        while bell.get("/v1/models/bell/secret-plan").status_code != 200:
            assert time.monotonic() < ends_s, "the adapter is not served"
            time.sleep(0.1)

        def refused(method: str, path: str, model: str) -> float:
            body = {"model": model, "messages": MESSAGE} if method == "POST" else None
            began_s = time.perf_counter()
            answer = acme.request(method, path.format(model), json=body)
            took_s = time.perf_counter() - began_s
            assert answer.status_code == 404, answer.text
            return took_s

        for method, path in (("POST", "/v1/chat/completions"), ("GET", "/v1/models/{}")):
            sides = [partial(refused, method, path, name) for name in (theirs, nobodys)]
            both = [sides] * (count + 100)
            one, other = interleaved(both)
            tell(f"T1, {method} {path.format('...')}", one[100:], other[100:])


def words(number: int) -> str:
    """Return a prompt of its own, of more than 512 tokens."""
    return f"{number}: " + " ".join(str(DRAW.randrange(1000, 9999)) for _ in range(300))


def prompts(folder: Path, count: int) -> None:
    """T3: prompts that another tenant, nobody, or the tenant itself has sent."""
    with start_process(folder, roots=[DEMO], environ=ENVIRON) as served:
        acme, bell = client(served, "acme"), client(served, "bell")
        cached = []

        def first(key: httpx.Client, prompt: str) -> float:
            body = {"model": "haiku", "prompt": prompt, "max_tokens": 1}
            began_s = time.perf_counter()
            answer = key.post("/v1/completions", json=body)
            took_s = time.perf_counter() - began_s
            usage = answer.json()["usage"]
            assert usage["prompt_tokens"] >= 512, usage
            cached.append((usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0)
            return took_s

        def pair(number: int) -> tuple[Callable[[], float], Callable[[], float]]:
            theirs, nobodys = words(number), words(10_000 + number)
            first(acme, theirs)
            return lambda: first(bell, theirs), lambda: first(bell, nobodys)

        first(bell, words(-1))
        known = [pair(number) for number in range(count)]
        cached.clear()
        one, other = interleaved(known)
        tell("T3, another tenant's prompt and nobody's", one, other)
        sys.stdout.write(f"tokens from the cache: {sum(cached)}\n")
        own = [words(20_000 + number) for number in range(count)]
        fresh = [first(bell, prompt) for prompt in own]
        again = [first(bell, prompt) for prompt in own]
        tell("for comparison: the tenant's own prompt again, and at first", again, fresh)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--names", type=int, default=3000)
    parser.add_argument("--prompts", type=int, default=30)
    asked = parser.parse_args()
    sys.stdout.write("| what | times | one, ms | other, ms | p |\n|---|---|---|---|---|\n")
    for act, count in ((names, asked.names), (prompts, asked.prompts)):
        with tempfile.TemporaryDirectory() as folder:
            if count:
                act(Path(folder), count)


if __name__ == "__main__":
    main()
