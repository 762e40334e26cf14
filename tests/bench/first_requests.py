"""What does the first request of each kind take after a start, and what does the second?

    python tests/bench/first_requests.py [--starts 2] [--cold]

A real server with the embedded model and the demo adapters is started, asked each kind of request
once so that every adapter is proved, and stopped. Then it is started again with the same state, and
each kind is asked four times, in an order of its own at each start. No two prompts are equal.
``--cold`` leaves out the warm-up of a start, which shows what it is for.
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.places import DEMO
from support.serving import start_process

BASE = "smollm2-135m-instruct"
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
COLD = """
import sys
from veneer_server.engine import starting
before = starting._start_once

async def nothing(*_, **__):
    pass

async def cold(settings, sizes, stages):
    starting._set_environment(settings)  # vLLM reads it while it is imported
    from veneer_server.engine.vllm import engine
    engine.warm_up = nothing
    engine.OpenAIHandlers.warm_up = lambda _: None
    return await before(settings, sizes, stages)

starting._start_once = cold
sys.argv = sys.argv[1:]
from veneer_server.commands.main import main
main()
"""
"""Runs ``veneer`` without its warm-up."""
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"


def user(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def kinds(word: str) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return every kind of request; ``word`` makes its prompt a new one."""
    chat = {"messages": user(f"What is a {word}?"), "max_tokens": 4}
    long = " ".join(f"{word}{i}" for i in range(60))
    tool = {"name": "f", "parameters": SCHEMA}
    return {
        "chat": (CHAT, {**chat, "temperature": 0}),
        "chat, sampled": (CHAT, {**chat, "temperature": 0.8, "top_p": 0.9, "seed": 3}),
        "chat, streamed": (CHAT, {**chat, "stream": True}),
        "chat, n 3": (CHAT, {**chat, "n": 3}),
        "logprobs": (CHAT, {**chat, "logprobs": True, "top_logprobs": 3}),
        "penalties": (CHAT, {**chat, "presence_penalty": 0.3, "frequency_penalty": 0.2}),
        "json_object": (CHAT, {**chat, "response_format": {"type": "json_object"}}),
        "json_schema": (
            CHAT,
            {
                **chat,
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": word, "schema": {**SCHEMA, "title": word}},
                },
            },
        ),
        "forced tool": (
            CHAT,
            {
                **chat,
                "tools": [{"type": "function", "function": {**tool, "description": word}}],
                "tool_choice": "required",
            },
        ),
        "long prompt": (CHAT, {**chat, "messages": user(long)}),
        "completion": (COMPLETIONS, {"prompt": f"A {word} is", "max_tokens": 4}),
        "echo": (
            COMPLETIONS,
            {"prompt": f"A {word}", "max_tokens": 2, "echo": True, "logprobs": 1},
        ),
        "responses": ("/v1/responses", {"input": f"A {word}?", "max_output_tokens": 4}),
        "messages": ("/v1/messages", {"messages": user(f"A {word}?"), "max_tokens": 4}),
        "count_tokens": ("/v1/messages/count_tokens", {"messages": user(f"A {word}?")}),
        "tokenize": ("/tokenize", {"prompt": f"A {word}"}),
    }


def ask(client: httpx.Client, path: str, model: str, body: dict[str, Any]) -> float:
    """Return the milliseconds of one request, without its wait for an adapter's load."""
    began = time.perf_counter()
    answer = client.post(path, json={"model": model, **body})
    took = 1000 * (time.perf_counter() - began)
    assert answer.status_code == 200, answer.text
    return took - float(answer.headers.get("x-veneer-cold-start-ms", 0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--starts", type=int, default=2)
    parser.add_argument("--cold", action="store_true")
    asked = parser.parse_args()
    wrapper = (sys.executable, "-c", COLD) if asked.cold else ()
    words = (f"w{n}x" for n in range(100_000))
    found: dict[tuple[str, str], list[list[float]]] = {}
    chance = random.Random(5)  # noqa: S311 - repeatable on purpose
    with tempfile.TemporaryDirectory() as folder:
        with (
            start_process(Path(folder), roots=[DEMO]) as served,
            httpx.Client(base_url=served.url, timeout=300) as client,
        ):
            for model in (BASE, "pirate"):
                ask(client, CHAT, model, kinds(next(words))["chat"][1])
        for _ in range(asked.starts):
            began = time.perf_counter()
            with start_process(Path(folder), roots=[DEMO], wrapper=wrapper) as served:
                ready = time.perf_counter() - began
                cases = [(m, k) for m in (BASE, "pirate") for k in kinds("x")]
                chance.shuffle(cases)
                with httpx.Client(base_url=served.url, timeout=300) as client:
                    client.get("/livez")
                    for model, kind in cases:
                        took = [
                            ask(client, path, model, body)
                            for path, body in (kinds(next(words))[kind] for _ in range(4))
                        ]
                        found.setdefault((model, kind), []).append(took)
                started = [
                    x for x in (served.log or Path()).read_text().splitlines() if "Started in" in x
                ]
                print(f"ready after {ready:.1f} s", *started, "first:", cases[0])
    for (model, kind), starts in sorted(found.items()):
        first = statistics.median(took[0] for took in starts)
        later = statistics.median(t for took in starts for t in took[1:])
        ratio = first / later
        print(f"{model[:8]:9}{kind:16} first {first:7.1f} ms, later {later:7.1f} ms, x{ratio:.2f}")
    print(json.dumps({f"{m}, {k}": v for (m, k), v in found.items()}))


if __name__ == "__main__":
    main()
