"""When a client counts as one that reads nothing."""

import pytest

from veneer_server.api.http.writing import Patience


@pytest.mark.parametrize(
    ("taken", "over"),
    [
        ([0, 0, 0], False),
        ([0, 0, 0, 0], True),
        ([1, 1, 1, 1], False),
        ([1, 1, 1, 1, 1], True),
        ([0, 0, 0, 1, 1, 1, 1], False),
        ([1, 2, 3, 4, 5, 6, 7, 8], False),
    ],
    ids=["early", "nothing", "something-late", "stopped", "a-byte-in-time", "slow"],
)
def test_patience_ends_at_the_fourth_look_in_a_row_that_finds_nothing_taken(
    taken: list[int], over: bool
) -> None:
    patience = Patience(0)
    *before, last = [patience.is_over(count) for count in taken]
    assert (any(before), last) == (False, over)
