"""What counting costs: each verb's time, and their share of one core at 1,000 tokens/s.

    python tests/bench/metrics.py

The share is of streams of 100 tokens: one request, one first token
and 99 gaps, each token also looked at as ``serving.tokens.counted`` does.
"""

import sys
import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from veneer_server.engine.base import Endpoint
from veneer_server.serving.tokens import token_test
from veneer_server.telemetry.metrics import Metrics

TOKENS_PER_S, TOKENS = 1000, 100
FRAME = (
    b'data: {"id":"chatcmpl-0123456789abcdef0123456789abcdef","object":"chat.completion.chunk",'
    b'"created":17,"model":"pirate@sha256:0123456789abcdef01234567","choices":[{"index":0,'
    b'"delta":{"content":" lighthouse"},"logprobs":null,"finish_reason":null}]}\n\n'
)


def seconds_each(act: Callable[[int], object], times: int, rounds: int = 5) -> float:
    """Return the best mean of ``rounds`` runs; the others were disturbed."""
    best = float("inf")
    for _ in range(rounds):
        began_s = time.process_time()
        for number in range(times):
            act(number)
        best = min(best, (time.process_time() - began_s) / times)
    return best


def request(metrics: Metrics, number: int) -> None:
    ids = {"request_id": f"req_{number:032}"}
    with metrics.request("chat", f"a{number % 150}", ids) as seen:
        seen.token()
        seen.used(10, 100)
        seen.completed()


def main() -> None:
    metrics = Metrics(CollectorRegistry())
    whole = seconds_each(lambda number: request(metrics, number), 5000)
    with metrics.request("chat", "a0") as seen:
        token = seconds_each(lambda _: seen.token(), 50_000)
    carries_tokens = token_test(Endpoint.CHAT)
    look = seconds_each(lambda _: carries_tokens(FRAME) and b'"usage":{' in FRAME, 50_000)
    page = seconds_each(lambda _: generate_latest(metrics.snapshot()), 5, 2)
    share = TOKENS_PER_S * (token + look) + TOKENS_PER_S / TOKENS * whole
    sys.stdout.write(
        f"a token: {token * 1e6:.2f} us counted, {look * 1e6:.2f} us looked at\n"
        f"a request: {whole * 1e6:.1f} us\n"
        f"a page with 150 adapters: {page * 1e3:.1f} ms\n"
        f"at {TOKENS_PER_S} tokens/s: {share:.2%} of one core\n"
    )


if __name__ == "__main__":
    main()
