"""What a source means by Retry-After, and how long its pause then is."""

import pytest

from veneer_adapters.sources.pauses import LONGEST_S, Pauses, asked_pause_s

NOW_S = 1_795_000_000.0  # Wed, 18 Nov 2026 11:06:40 GMT


@pytest.mark.parametrize(
    ("text", "pause_s"),
    [
        ("0", 0.0),
        ("300", 300.0),
        ("999999999", 999_999_999.0),
        ("9" * 5000, None),
        ("Wed, 18 Nov 2026 11:08:20 GMT", 100.0),
        ("Wed, 18 Nov 2026 11:08:20 -0000", 100.0),
        ("Wed, 18 Nov 2026 10:00:00 GMT", 0.0),
        ("Wed, 18 Nov 2026 11:08:20 +9999", None),
        ("-1", None),
        ("1.5", None),
        ("+300", None),
        ("٣٠٠", None),
        ("soon", None),
        ("", None),
    ],
)
def test_a_number_of_seconds_or_a_date_is_a_pause_and_nothing_else_is(
    text: str, pause_s: float | None
) -> None:
    assert asked_pause_s(text, now=lambda: NOW_S) == pause_s


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.mark.parametrize(("asked_s", "ends_s"), [(20, 20), (LONGEST_S + 1, LONGEST_S)])
def test_a_pause_ends_when_the_source_said_or_at_the_longest(asked_s: float, ends_s: float) -> None:
    clock = Clock()
    pauses = Pauses(clock)
    pauses.begin("one", asked_s)
    assert (pauses.left_s("one"), pauses.left_s("another")) == (ends_s, 0)
    clock.now_s = ends_s - 1
    assert pauses.left_s("one") == 1
    clock.now_s = ends_s
    assert pauses.left_s("one") == 0


def test_a_pause_of_nothing_is_none() -> None:
    pauses = Pauses(Clock())
    pauses.begin("one", 0)
    assert pauses.left_s("one") == 0
