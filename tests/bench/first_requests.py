"""What does the first request of each kind take after a start, and what does the second?

    python tests/bench/first_requests.py [--starts 2] [--cold]

A real server with the embedded model and the demo adapters is started, asked once so that its
adapter is proved, and stopped. Then it is started again with the same state, and each kind is asked
four times, in an order of its own at each start. No two prompts are equal. The kind ``new adapter``
puts an adapter of its own into the watched folder each time, waits until the server lists it, and
asks it: that time has its proof and its load. Of a stream the time is until its first event.
``--cold`` leaves out the warm-up of a start, which shows what it is for.
"""

import argparse
import json
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.places import DEMO
from support.serving import POLL_S, Served, start_process
from veneer_adapters.artifact.files import WEIGHTS_FILE

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
RESPONSES, MESSAGES = "/v1/responses", "/v1/messages"
NEW = "new adapter"
TIMES = 4


def user(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def kinds(word: str) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return every kind of request; ``word`` makes its prompt a new one."""
    chat = {"messages": user(f"What is a {word}?"), "max_tokens": 4}
    long = " ".join(f"{word}{i}" for i in range(60))
    tools = [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}]
    tools[0]["function"] |= {"description": word}
    named = {"type": "function", "function": {"name": "f"}}
    streamed = {"stream": True}
    return {
        "chat": (CHAT, {**chat, "temperature": 0}),
        "chat, sampled": (CHAT, {**chat, "temperature": 0.8, "top_p": 0.9, "seed": 3}),
        "chat, streamed": (CHAT, {**chat, **streamed}),
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
        "tools, auto": (CHAT, {**chat, **streamed, "tools": tools}),
        "forced tool": (CHAT, {**chat, "tools": tools, "tool_choice": "required"}),
        "named tool": (CHAT, {**chat, **streamed, "tools": tools, "tool_choice": named}),
        "long prompt": (CHAT, {**chat, "messages": user(long)}),
        "longer prompt": (CHAT, {**chat, "messages": user(long * 3)}),
        "completion": (COMPLETIONS, {"prompt": f"A {word} is", "max_tokens": 4}),
        "echo": (
            COMPLETIONS,
            {"prompt": f"A {word}", "max_tokens": 2, "echo": True, "logprobs": 1},
        ),
        "responses": (RESPONSES, {"input": f"A {word}?", "max_output_tokens": 4}),
        "responses, streamed": (
            RESPONSES,
            {"input": f"A {word}?", "max_output_tokens": 4, **streamed},
        ),
        "messages": (MESSAGES, {"messages": user(f"A {word}?"), "max_tokens": 4}),
        "messages, streamed": (
            MESSAGES,
            {"messages": user(f"A {word}?"), "max_tokens": 4, **streamed},
        ),
        "count_tokens": ("/v1/messages/count_tokens", {"messages": user(f"A {word}?")}),
        "tokenize": ("/tokenize", {"prompt": f"A {word}"}),
        "detokenize": ("/detokenize", {"tokens": [*range(100, 100 + len(word))]}),
    }


def ask(
    client: httpx.Client, path: str, model: str, body: dict[str, Any], *, load: bool = False
) -> float:
    """Return the milliseconds of one request, and only with ``load`` its wait for an adapter's."""
    began = time.perf_counter()
    with client.stream("POST", path, json={"model": model, **body}) as answer:
        parts = answer.iter_raw() if body.get("stream") else iter([answer.read()])
        first = next(parts)
        took = 1000 * (time.perf_counter() - began)
        assert answer.status_code == 200, first
        for _ in parts:
            pass
    return took if load else took - float(answer.headers.get("x-veneer-cold-start-ms", 0))


def ask_new(client: httpx.Client, served: Served, name: str) -> float:
    """Return the milliseconds of the first request for an adapter that was never there."""
    made = shutil.copytree(DEMO / "pirate", served.adapters.parent / name)
    weights = bytearray((made / WEIGHTS_FILE).read_bytes())
    weights[-2 * int(name.rpartition("-")[2])] ^= 1  # the last bit of some value
    (made / WEIGHTS_FILE).write_bytes(weights)
    made.rename(served.adapters / name)
    for _ in range(600):
        if name in {model["id"] for model in client.get("/v1/models").json()["data"]}:
            return ask(client, CHAT, name, kinds(name)["chat"][1], load=True)
        time.sleep(POLL_S)
    raise AssertionError(f"{name} is not listed")


def ask_some(
    client: httpx.Client, served: Served, model: str, kind: str, words: Iterator[str]
) -> list[float]:
    """Return the milliseconds of some requests of one kind, the first one first."""
    if kind == NEW:
        return [ask_new(client, served, f"new-{next(words)[1:-1]}") for _ in range(TIMES)]
    asked = (kinds(next(words))[kind] for _ in range(TIMES))
    return [ask(client, path, model, body) for path, body in asked]


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
        (Path(folder) / "my-adapters").mkdir()
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
                cases.append(("pirate", NEW))
                chance.shuffle(cases)
                with httpx.Client(base_url=served.url, timeout=300) as client:
                    client.get("/livez")
                    for model, kind in cases:
                        took = ask_some(client, served, model, kind, words)
                        found.setdefault((model, kind), []).append(took)
                        print(model, kind, [round(ms) for ms in took], flush=True)
                started = [
                    x for x in (served.log or Path()).read_text().splitlines() if "Started in" in x
                ]
                print(f"ready after {ready:.1f} s", *started, "first:", cases[0])
    for (model, kind), starts in sorted(found.items()):
        first = statistics.median(took[0] for took in starts)
        later = statistics.median(t for took in starts for t in took[1:])
        ratio = first / later
        print(f"{model[:8]:9}{kind:20} first {first:7.1f} ms, later {later:7.1f} ms, x{ratio:.2f}")
    print(json.dumps({f"{m}, {k}": v for (m, k), v in found.items()}))


if __name__ == "__main__":
    main()
