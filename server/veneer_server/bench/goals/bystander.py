"""G13: nobody is held up by a request that is large or odd, as long as it is accepted."""

import statistics
from collections.abc import Iterator
from typing import Any

from veneer_server.bench.clients.load import Request
from veneer_server.bench.goals.site import Site, completion
from veneer_server.bench.goals.verdicts import Figures
from veneer_server.bench.peers.peers import BASE

_CALM_TOKENS, _STREAM_TOKENS, _TRIES = 128, 4000, 2


def beside_odd_requests(site: Site) -> Figures:
    """Return by how many ms an odd request makes a stream's longest gap longer, for the worst one.

    The growth of a request is the less of two tries, because any one try may be disturbed.
    """
    calm = completion(BASE, 8, _CALM_TOKENS, seed=0)
    calm_s = statistics.median(_longest_s(site, calm) for _ in range(3))
    growths = {
        f"{name}, ms": 1000 * (min(_longest_s(site, asked) for _ in range(_TRIES)) - calm_s)
        for name, asked in _odd_requests()
    }
    return {"worst growth ms": max(0.0, *growths.values()), **growths}


def _longest_s(site: Site, request: Request) -> float:
    stream = completion(BASE, 8, _STREAM_TOKENS, seed=1)
    outcome = site.send([[completion(BASE, 8, 8, seed=2), request]], [[stream]])
    return max(gap for told in outcome.background[0] for gap in told.itl_s)


def _odd_requests() -> Iterator[tuple[str, Request]]:
    for name, path, body in _bodies():
        yield name, (path, {"model": BASE, **body})


def _bodies() -> Iterator[tuple[str, str, dict[str, Any]]]:
    chat, hi = "/v1/chat/completions", [{"role": "user", "content": "hi"}]
    short = {"messages": hi, "max_tokens": 2}
    yield "4,000 words", chat, {**short, "messages": [{"role": "user", "content": "a " * 4000}]}
    parts = [{"type": "text", "text": "a"}] * 2048
    yield "2,048 parts", chat, {**short, "messages": [{"role": "user", "content": parts}]}
    yield "128 answers", chat, {**short, "n": 128, "max_tokens": 1, "temperature": 1}
    yield "49,152 allowed tokens", chat, {**short, "allowed_token_ids": list(range(49_152))}
    words = [f"{number:03}" + "ab" * 123 for number in range(128)]
    yield "128 bad words", chat, {**short, "bad_words": words}
    yield "128 prompts", "/v1/completions", {"prompt": ["a"] * 128, "max_tokens": 1}
    items = [{"type": "message", "role": "user", "content": "hi"}] * 400
    yield "400 items", "/v1/responses", {"input": items, "max_output_tokens": 16}
    yield "400 turns", "/v1/messages", {"messages": hi * 400, "max_tokens": 2}
