"""What clients may ask for in headers, and how they are told that they wrote it wrongly."""

import pytest

from veneer_server.serving.wishes import ColdStart, Wishes, WishNotUnderstood, parse_wishes


@pytest.mark.parametrize(
    ("cold_start", "timeout", "wishes"),
    [
        (None, None, Wishes()),
        ("wait", None, Wishes(ColdStart.WAIT)),
        ("reject", "2.5", Wishes(ColdStart.REJECT, begin_within_s=2.5)),
        (" fallback ; after = 0.5", None, Wishes(ColdStart.FALLBACK, 0.5)),
        (None, "3600", Wishes(begin_within_s=3600.0)),
    ],
)
def test_headers_say_what_a_client_wishes(
    cold_start: str | None, timeout: str | None, wishes: Wishes
) -> None:
    assert parse_wishes(cold_start, timeout) == wishes


@pytest.mark.parametrize(
    "text",
    ["", "never", "fallback,reject", "fallback; 5", "fallback; before=5", "Wait", "wait; after=1"],
)
def test_an_unknown_way_is_told_the_known_ones(text: str) -> None:
    with pytest.raises(WishNotUnderstood, match="wait, reject or fallback") as refused:
        parse_wishes(text, None)
    assert refused.value.param == "x-veneer-cold-start"


@pytest.mark.parametrize("text", ["", "0", "-1", "nan", "inf", "3601", "soon", "1" * 500])
def test_a_time_is_a_number_of_seconds_within_an_hour(text: str) -> None:
    with pytest.raises(WishNotUnderstood, match="seconds above 0") as refused:
        parse_wishes(None, text)
    assert refused.value.param == "x-request-timeout"
    with pytest.raises(WishNotUnderstood, match="seconds above 0"):
        parse_wishes(f"fallback; after={text}", None)
