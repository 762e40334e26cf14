"""Forty odd bodies, one after the other, beside a stream and a probe: who is held up, for how long?

    python tests/bench/bystanders.py [--only NAME ...] [--repeat 3]

A real server streams to a bystander without end, and a second one asks /livez all the time. For
each body the table says what it was answered, the longest time in which the bystander got no token,
and the longest that /livez took: each the least of several tries, because on a busy machine any one
try may be disturbed. No try finds its prompt in the prefix cache. No body has a schema: grammars
are compiled elsewhere.
"""

import argparse
import base64
import http.client
import json
import math
import multiprocessing as mp
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.serving import start_process

BASE = "smollm2-135m-instruct"
CHAT, COMPLETIONS, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"
MESSAGES, COUNT = "/v1/messages", "/v1/messages/count_tokens"
CALM = 60
"""Tokens of the bystander that say how long its gaps are by themselves."""
TAIL_S = 0.7
"""How long the bystanders are watched after an answer."""
TRY = "TRY"
"""Stands in a body for the number of the try."""


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def tool(number: int, **schema: Any) -> dict[str, Any]:
    parameters = {"type": "object", "properties": schema}
    return {"type": "function", "function": {"name": f"f{TRY}_{number}", "parameters": parameters}}


def call(arguments: str) -> dict[str, Any]:
    function = {"name": "f", "arguments": arguments}
    return {"id": "c", "type": "function", "function": function}


PART, INPUT_PART = {"type": "text", "text": "a"}, {"type": "input_text", "text": "a"}
WIDE = {f"p{i}": {"type": "string"} for i in range(60_000)}
NOISE = base64.b64encode(random.Random(1).randbytes(3_000_000)).decode()  # noqa: S311 - no secret


HI = [user("hi")]


def chat(**more: Any) -> dict[str, Any]:
    return {"messages": HI, "max_tokens": 2, **more}


Case = tuple[str, str, Any]
"""Name, route and body, which is bytes where it is no JSON."""


def conversations() -> Iterator[Case]:
    yield "plain", CHAT, chat()
    yield "one word of 4 MB", CHAT, chat(messages=[user("a" * 4_000_000)])
    yield "one word of 660,000", CHAT, chat(messages=[user("a" * 660_000)])
    yield "emoji, 2.6 MB", CHAT, chat(messages=[user("\U0001f600" * 660_000)])
    yield "prose of 4 MB", CHAT, chat(messages=[user("The quick brown fox. " * 190_000)])
    yield "noise of 4 MB", CHAT, chat(messages=[user(NOISE)])
    yield "2,048 messages", CHAT, chat(messages=[user("hi")] * 2048)
    yield "60,000 messages", CHAT, chat(messages=[user("hi")] * 60_000)
    yield "2,048 parts", CHAT, chat(messages=[user([{**PART, "text": TRY}, *[PART] * 2047])])
    yield "100,000 parts", CHAT, chat(messages=[user([PART] * 100_000)])
    yield "100,000 wrong parts", CHAT, chat(messages=[user([{"type": "x"}] * 100_000)])
    calls = {"role": "assistant", "tool_calls": [call("{}")] * 20_000}
    yield "20,000 tool calls", CHAT, chat(messages=[*HI, calls])
    arguments = json.dumps({f"k{i}": i for i in range(150_000)})
    calls = {"role": "assistant", "tool_calls": [call(arguments)]}
    yield "arguments of 2.6 MB", CHAT, chat(messages=[*HI, calls])


def fields() -> Iterator[Case]:
    yield "128 tools", CHAT, chat(tools=[tool(i, a={"type": "string"}) for i in range(128)])
    yield "60,000 properties", CHAT, chat(tools=[tool(0, **WIDE)])
    yield "100,000 kwargs", CHAT, chat(chat_template_kwargs={str(i): i for i in range(100_000)})
    yield "100,000 documents", CHAT, chat(documents=[{"t": "x"}] * 100_000)
    yield "bad word of 1 MB", CHAT, chat(bad_words=["a" * 1_000_000])
    yield "bad word of 4 MB", CHAT, chat(bad_words=["a" * 4_000_000])
    yield "128 bad words of 250", CHAT, chat(bad_words=[f"{i:03}" + "ab" * 123 for i in range(128)])
    yield "logit_bias of 100,000", CHAT, chat(logit_bias={str(i): 1 for i in range(100_000)})
    yield "49,152 allowed tokens", CHAT, chat(allowed_token_ids=list(range(49_152)))
    yield "65,536 wrong tokens", CHAT, chat(allowed_token_ids=["a"] * 65_536)
    yield "400,000 unknown", CHAT, chat(unknown=[{}] * 400_000)
    yield "n 128", CHAT, chat(n=128, max_tokens=1, temperature=1)
    yield "300,000 keys", CHAT, chat(unknown={str(i): 1 for i in range(300_000)})


def odd_json() -> Iterator[Case]:
    yield "the same key 300,000 times", CHAT, b'{"a":1' + b',"a":1' * 300_000 + b"}"
    yield "200,000 deep", CHAT, b'{"a":' + b"[" * 200_000
    yield "4 MB of blanks", CHAT, b" " * 4_000_000


def other_routes() -> Iterator[Case]:
    yield "100,000 prompts", COMPLETIONS, {"prompt": ["a"] * 100_000, "max_tokens": 1}
    yield "128 prompts", COMPLETIONS, {"prompt": ["a"] * 128, "max_tokens": 1}
    yield "500,000 tokens", COMPLETIONS, {"prompt": [1] * 500_000, "max_tokens": 1}
    yield "500,000 wrong tokens", COMPLETIONS, {"prompt": [1] + ["a"] * 500_000, "max_tokens": 1}
    item = {"type": "message", "role": "user", "content": "hi"}
    yield "2,048 items", RESPONSES, {"input": [item] * 2048, "max_output_tokens": 16}
    yield "2,048 wrong items", RESPONSES, {"input": [{"type": "nope"}] * 2048}
    parts = [{"role": "user", "content": [INPUT_PART] * 60_000}]
    yield "60,000 item parts", RESPONSES, {"input": parts, "max_output_tokens": 16}
    yield "2,048 turns", MESSAGES, {"messages": [user("hi")] * 2048, "max_tokens": 2}
    yield "2,048 turns, counted", COUNT, {"messages": [user("hi")] * 2048}
    yield "3.6 MB tokenized", "/tokenize", {"prompt": "x y" * 1_200_000}
    yield "500,000 detokenized", "/detokenize", {"tokens": [1] * 500_000}


def corpus() -> list[Case]:
    return [*conversations(), *fields(), *odd_json(), *other_routes()]


def ask(port: int, path: str, body: bytes) -> int:
    """Send a body; return the status of the answer, 0 without one."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    except OSError:
        return 0
    finally:
        connection.close()


class Bystander:
    """Reads a stream, or probes; keeps its longest gap. The program that sends is another one."""

    def __init__(self) -> None:
        self.longest_s, self.count, self._last_s = 0.0, 0, math.inf

    def begins(self) -> None:
        """Begin a stream; until its first token it waits for its turn, and that is no gap."""
        self._last_s = math.inf

    def seen(self) -> None:
        now_s = time.monotonic()
        self.longest_s, self.count = max(self.longest_s, now_s - self._last_s), self.count + 1
        self._last_s = now_s

    def take(self) -> tuple[float, int]:
        """Return the longest gap so far, the running one too, and begin anew."""
        found = max(self.longest_s, time.monotonic() - self._last_s), self.count
        self.longest_s = 0.0
        return found


def read_streams(port: int, stream: Bystander) -> None:
    body = {"model": BASE, "messages": [user("Tell me a story.")], "stream": True}
    content = json.dumps({**body, "max_tokens": 4000, "ignore_eos": True, "temperature": 0})
    while True:
        stream.begins()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        connection.request("POST", CHAT, content, {"Content-Type": "application/json"})
        for line in connection.getresponse():
            if line.startswith(b"data"):
                stream.seen()


def probe(port: int, live: Bystander) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    while True:
        began_s = time.monotonic()
        connection.request("GET", "/livez")
        connection.getresponse().read()
        live.longest_s = max(live.longest_s, time.monotonic() - began_s)
        time.sleep(0.01)


def stand_by(port: int, asked: Connection) -> None:
    """Be both bystanders, and tell what they saw whenever somebody asks."""
    stream, live = Bystander(), Bystander()
    for work, seen in ((read_streams, stream), (probe, live)):
        threading.Thread(target=work, args=(port, seen), daemon=True).start()
    with suppress(EOFError):
        while asked.recv():
            live_s, live.longest_s = live.longest_s, 0.0
            asked.send((*stream.take(), live_s))


class Watch:
    """What the bystanders saw since the last look."""

    def __init__(self, port: int) -> None:
        context = mp.get_context("spawn")
        self._ask, theirs = context.Pipe()
        self._process = context.Process(target=stand_by, args=(port, theirs), daemon=True)
        self._process.start()

    def end(self) -> None:
        """End both, before the server ends beneath them."""
        self._process.kill()
        self._process.join(10)

    def look(self) -> tuple[float, int, float]:
        self._ask.send(True)
        gap_s, count, live_s = self._ask.recv()
        return gap_s * 1000, count, live_s * 1000

    def calm(self) -> tuple[float, float]:
        """Return the medians of the longest gap and of the longest probe, in a second each."""
        seen = []
        for _ in range(10):
            self.look()
            time.sleep(1)
            seen.append(self.look())
        return median(gap for gap, _, _ in seen), median(live for _, _, live in seen)

    def until(self, tokens: int) -> None:
        _, begun, _ = self.look()
        while self.look()[1] < begun + tokens:
            time.sleep(0.1)


def try_once(watch: Watch, port: int, path: str, body: bytes) -> tuple[int, float, float, float]:
    """Send ``body``; return the status, and the milliseconds of answer, longest gap and probe."""
    watch.until(10)
    watch.look()
    began_s = time.monotonic()
    status = ask(port, path, body)
    took_ms = (time.monotonic() - began_s) * 1000
    time.sleep(TAIL_S)
    gap_ms, _, live_ms = watch.look()
    return status, took_ms, gap_ms, live_ms


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--repeat", type=int, default=3)
    asked = parser.parse_args()
    only = asked.only
    limits = {"VENEER_LIMITS__MAX_SEQS": "8"}
    bodies = [one for one in corpus() if not only or one[0] in only]
    with (
        tempfile.TemporaryDirectory() as folder,
        start_process(Path(folder), kv_cache_gib=1, environ=limits, ends_with=0) as served,
    ):
        port = int(served.url.rpartition(":")[2])
        watch = Watch(port)
        watch.until(CALM)
        calm_gap_ms, calm_live_ms = watch.calm()
        print(f"calm: longest gap {calm_gap_ms:.0f} ms, longest /livez {calm_live_ms:.0f} ms\n")
        print("| body | KB | answer | after ms | longest gap ms | more than calm | /livez ms |")
        print("|---|---|---|---|---|---|---|")
        for name, path, body in bodies:
            content = (
                body
                if isinstance(body, bytes)
                else json.dumps({"model": BASE, **body}, ensure_ascii=False)
            )
            content = content.encode() if isinstance(content, str) else content
            tries = [
                try_once(watch, port, path, content.replace(TRY.encode(), str(number).encode()))
                for number in range(asked.repeat)
            ]
            status, took_ms, gap_ms, live_ms = map(min, zip(*tries, strict=True))
            print(
                f"| {name} | {len(content) // 1000} | {status} | {took_ms:.0f} | {gap_ms:.0f} |"
                f" {gap_ms - calm_gap_ms:+.0f} | {live_ms:.0f} |",
                flush=True,
            )
        watch.end()


if __name__ == "__main__":
    main()
