"""How figures are written for people."""

import pytest

from veneer_server.console import formats


@pytest.mark.parametrize(
    ("number", "text"),
    [(None, formats.NOTHING), (0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5e9, "4.7 GiB")],
)
def test_a_size(number: float | None, text: str) -> None:
    assert formats.size(number) == text


@pytest.mark.parametrize(
    ("number", "text"), [(None, formats.NOTHING), (0.0123, "12.3 ms"), (1.5, "1.5 s"), (60, "60 s")]
)
def test_a_time_that_something_took(number: float | None, text: str) -> None:
    assert formats.seconds(number) == text


@pytest.mark.parametrize(
    ("number", "text"), [(None, formats.NOTHING), (0, "0"), (0.123, "0.12"), (123.4, "123")]
)
def test_a_rate(number: float | None, text: str) -> None:
    assert formats.rate(number) == text


def test_a_count_and_a_moment() -> None:
    assert formats.count(1234567) == "1,234,567"
    assert formats.count(None) == formats.moment(None) == formats.NOTHING
    assert formats.moment(0) == "1970-01-01 00:00 UTC"


@pytest.mark.parametrize(
    ("at_s", "text"),
    [
        (None, formats.NOTHING),
        (999_990, "just now"),
        (999_940, "1 minute ago"),
        (990_000, "2 hours ago"),
        (0, "11 days ago"),
    ],
)
def test_how_long_ago(at_s: float | None, text: str) -> None:
    assert formats.ago(at_s, 1_000_000) == text
