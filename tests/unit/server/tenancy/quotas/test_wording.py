"""What clients are told of limits is in OpenAI's form."""

import pytest

from support.quotas import demand
from veneer_server.tenancy.quotas.buckets import Standing
from veneer_server.tenancy.quotas.demands import Kind
from veneer_server.tenancy.quotas.wording import duration, headers, retry_after_s


@pytest.mark.parametrize(
    ("microseconds", "text"),
    [
        (0, "0s"),
        (1, "1ms"),
        (120_000, "120ms"),
        (999_001, "1s"),
        (1_000_000, "1s"),
        (7_660_000, "7.66s"),
        (60_000_000, "1m0s"),
        (360_000_000, "6m0s"),
        (61_500_000, "1m1.5s"),
        (3_600_000_000, "1h0m0s"),
    ],
)
def test_a_duration_is_written_as_go_does(microseconds: int, text: str) -> None:
    assert duration(microseconds) == text


def test_the_headers_are_of_the_limit_of_which_least_is_left() -> None:
    pairs = [
        (demand(Kind.REQUESTS, 1000), Standing(900, 6_000_000, 0)),
        (demand(Kind.REQUESTS, 60), Standing(59, 1_000_000, 0)),
        (demand(Kind.TOKENS, 6000, 100), Standing(5900, 1_000_000, 0)),
        (demand(Kind.CONCURRENCY, 2), Standing(0, 0, 0)),
    ]
    assert headers(pairs) == {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-reset-requests": "1s",
        "x-ratelimit-limit-tokens": "6000",
        "x-ratelimit-remaining-tokens": "5900",
        "x-ratelimit-reset-tokens": "1s",
    }
    assert headers(pairs[3:]) == {}


def test_nobody_is_told_to_wait_longer_than_a_minute() -> None:
    assert retry_after_s([Standing(0, 0, 500_000), Standing(0, 0, 10**9)]) == 60.0
    assert retry_after_s([Standing(0, 0, 500_000), Standing(1, 0, 0)]) == 0.5
