"""What it costs to ask several variants at once: 1, 2, 4 and 8, beside one after the other.

    python tests/bench/comparing.py [--times 7] [--tokens 64]

A real server with nothing else to do. Each round asks every number of variants once; figures are
medians over the rounds of the time until the last answer is complete, and ratios are taken in a
round. All variants are warm.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import httpx

from support.places import DEMO
from support.serving import start_process

NUMBERS = (1, 2, 4, 8)
BASE = "smollm2-135m-instruct"
PROMPT = "Write a short letter to a friend about the weather, the garden and the dog."


def names(client: httpx.Client) -> list[str]:
    """Return eight variants: the adapters that are there, and the base, some of them twice."""
    listed = [model["id"] for model in client.get("/v1/models").json()["data"]]
    adapters = [name for name in listed if name != BASE]
    return ([*adapters, BASE] * max(NUMBERS))[: max(NUMBERS)]


def together_s(client: httpx.Client, models: list[str], tokens: int) -> float:
    """Return the seconds until one comparison of ``models`` is complete."""
    body = {**asked(tokens), "models": models}
    began_s = time.perf_counter()
    with client.stream("POST", "/v1/veneer/compare", json=body) as stream:
        last = [line for line in stream.iter_lines() if line.startswith("data: ")][-1]
    taken_s = time.perf_counter() - began_s
    rows = json.loads(last[6:])["variants"]
    assert all(row["usage"]["completion_tokens"] == tokens for row in rows), rows
    return taken_s


def in_turn_s(client: httpx.Client, models: list[str], tokens: int) -> float:
    """Return the seconds that the same requests take, one after the other."""
    began_s = time.perf_counter()
    for model in models:
        body = {**asked(tokens), "model": model, "stream": True}
        with client.stream("POST", "/v1/chat/completions", json=body) as stream:
            assert list(stream.iter_lines())[-2] == "data: [DONE]"
    return time.perf_counter() - began_s


def asked(tokens: int) -> dict[str, object]:
    """Return what every request asks."""
    messages = [{"role": "user", "content": PROMPT}]
    return {"messages": messages, "max_tokens": tokens, "ignore_eos": True, "temperature": 0}


def main() -> None:
    """Measure and print one row for each number of variants."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=7)
    parser.add_argument("--tokens", type=int, default=64)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        start_process(Path(folder), roots=[DEMO]) as served,
        httpx.Client(base_url=served.url, timeout=300) as client,
    ):
        models = names(client)
        together_s(client, models, options.tokens)
        rounds = [
            {
                number: (
                    together_s(client, models[:number], options.tokens),
                    in_turn_s(client, models[:number], options.tokens),
                )
                for number in NUMBERS
            }
            for _ in range(options.times)
        ]
    print(
        "| variants | together s | of one | in turn s | in turn / together |\n|---|---|---|---|---|"
    )
    for number in NUMBERS:
        both = [each[number][0] for each in rounds]
        of_one = [each[number][0] / each[1][0] for each in rounds]
        turns = [each[number][1] for each in rounds]
        gain = [each[number][1] / each[number][0] for each in rounds]
        values = [statistics.median(v) for v in (both, of_one, turns, gain)]
        print(f"| {number} | " + " | ".join(f"{value:.2f}" for value in values) + " |")


if __name__ == "__main__":
    main()
