"""Ten workers against the limits of one key, counted to the request and to the token.

    python tests/bench/limits.py [--minutes 5] [--rpm 60] [--tpm 6000]

A real server with the echo engine; each worker asks as often as it may, and sleeps as the server
says. A third of the requests has a wrong field, and takes nothing.
Then what the key got is held against what a full bucket and five minutes of refill give.
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import httpx

from support.serving import start_process

WORKERS, OPERATOR = 10, "sk-the-operators-own-key"


def body(draw: random.Random) -> tuple[str, dict[str, object]]:
    words = draw.randrange(5, 120)
    asked: dict[str, object] = {
        "messages": [{"role": "user", "content": " ".join(["word"] * words)}],
        "max_tokens": words,
    }
    kind = draw.choice(["right", "right", "wrong"])
    return kind, asked if kind == "right" else {**asked, "temperature": -1}


async def work(http: httpx.AsyncClient, until_s: float, seed: int, seen: Counter[str]) -> None:
    draw = random.Random(seed)  # noqa: S311 - repeatable on purpose
    while time.monotonic() < until_s:
        kind, asked = body(draw)
        found = await http.post("/v1/chat/completions", json=asked)
        seen[f"{kind} {found.status_code}"] += 1
        if found.status_code == 429:
            seen[f"429 {found.json()['error']['type']}"] += 1
            # Ten workers that all waited as long as they are told would not try the limit.
            await asyncio.sleep(draw.uniform(0.02, 0.2))
        elif found.status_code == 200:
            seen["tokens"] += found.json()["usage"]["total_tokens"]


async def measure(url: str, seconds: float, limits: dict[str, int]) -> dict[str, object]:
    operator = {"authorization": f"Bearer {OPERATOR}"}
    seen: Counter[str] = Counter()
    async with httpx.AsyncClient(base_url=url, timeout=60) as http:
        made = await http.post("/v1/keys", json={"tenant": "acme", **limits}, headers=operator)
        http.headers["authorization"] = f"Bearer {made.json()['key']}"
        began_s = time.monotonic()
        await asyncio.gather(*(work(http, began_s + seconds, i, seen) for i in range(WORKERS)))
        took_s = time.monotonic() - began_s
    return {
        "seconds": round(took_s, 3),
        "counts": dict(sorted(seen.items())),
        "requests admitted": seen["right 200"],
        "requests that the limit gives": limits["rpm"] + int(took_s * limits["rpm"] / 60),
        "tokens used": seen["tokens"],
        "tokens that the limit gives": limits["tpm"] + int(took_s * limits["tpm"] / 60),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--rpm", type=int, default=60)
    parser.add_argument("--tpm", type=int, default=6000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        environ = {"VENEER_SERVER__API_KEY": OPERATOR}
        flags = ["--engine", "echo"]
        with start_process(Path(folder), environ=environ, flags=flags) as served:
            limits = {"rpm": asked.rpm, "tpm": asked.tpm}
            found = asyncio.run(measure(served.url, asked.minutes * 60, limits))
    sys.stdout.write(json.dumps(found, indent=2) + "\n")
    assert found["requests admitted"] <= found["requests that the limit gives"]  # type: ignore[operator]
    assert found["tokens used"] <= found["tokens that the limit gives"]  # type: ignore[operator]


if __name__ == "__main__":
    main()
