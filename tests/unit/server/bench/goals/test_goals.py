"""From figures to verdicts: ratios round by round, and what is said when one is missing."""

import math

import pytest

from veneer_server.bench.command import goal_ids
from veneer_server.bench.goals.goals import GOALS, chosen
from veneer_server.bench.goals.verdicts import Found, Goal, rows
from veneer_server.bench.peers.peers import Name
from veneer_server.bench.peers.running import BenchFailed

OURS, THEIRS = (Name.VENEER, "x"), (Name.DEFAULT, "x")
AT_LEAST = Goal("G0", "x, ours / theirs", OURS, THEIRS, False, 2, 3)
AT_MOST = Goal("G0", "x, ours / theirs", OURS, THEIRS, True, 1.0, 0.5)


def found(ours: list[float], theirs: list[float] | None = None) -> Found:
    made = Found()
    for turn, value in enumerate(ours):
        made.add(Name.VENEER, turn, {"x": value})
    for turn, value in enumerate(theirs or []):
        made.add(Name.DEFAULT, turn, {"x": value})
    return made


CASES = [
    ("at least: below", AT_LEAST, 1.9, "MISSED"),
    ("at least: just there", AT_LEAST, 2.0, "met"),
    ("at least: far above", AT_LEAST, 3.0, "met (stretch)"),
    ("at most: above", AT_MOST, 1.1, "MISSED"),
    ("at most: just there", AT_MOST, 1.0, "met"),
    ("at most: far below", AT_MOST, 0.5, "met (stretch)"),
    ("at most: never answered", AT_MOST, math.inf, "MISSED"),
]


@pytest.mark.parametrize(
    ("goal", "ratio", "verdict"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_verdict(goal: Goal, ratio: float, verdict: str) -> None:
    (row,) = rows(found([ratio], [1.0]), [goal], {}, "")
    assert row.verdict == verdict


def test_the_ratio_is_taken_in_each_round_and_then_the_median() -> None:
    # The machine was twice as fast in the second round: neither median alone would do.
    (row,) = rows(found([20, 44, 60], [10, 20, 30]), [AT_LEAST], {}, "")
    assert row.values == (2.0, 2.2, 2.0)
    assert row.median == 2.0


def test_a_round_in_which_one_side_is_missing_does_not_count() -> None:
    made = found([20, 30])
    made.add(Name.DEFAULT, 1, {"x": 10})
    (row,) = rows(made, [AT_LEAST], {}, "")
    assert row.values == (3.0,)


def test_two_measurements_in_one_round_count_as_their_median() -> None:
    made = found([20], [10])
    made.add(Name.VENEER, 0, {"x": 40})
    assert made.values(AT_LEAST) == (3.0,)


def test_the_first_round_never_counts_where_files_were_cold() -> None:
    goal = Goal("G0", "start", OURS, THEIRS, True, 1.0, skip_first=True)
    assert found([9, 2, 3], [1, 1, 1]).values(goal) == (2.0, 3.0)
    assert found([9], [1]).values(goal) == ()


def test_a_goal_about_one_figure_needs_no_peer() -> None:
    goal = Goal("G0", "share", OURS, None, False, 1.0)
    (row,) = rows(found([0.5, 1.0, 1.0]), [goal], {}, "")
    assert (row.median, row.verdict) == (1.0, "met")


def test_a_goal_without_figures_says_why() -> None:
    absent = {(Name.DEFAULT, "G0"): "it was not there"}
    rest = Goal("G0", "y", (Name.PLAIN, "y"), None, True, 1.0)
    first, second = rows(found([1.0]), [AT_LEAST, rest], absent, "not this time")
    assert (first.verdict, first.why_not) == ("not measured", "it was not there")
    assert (second.verdict, second.why_not) == ("not measured", "not this time")


def test_every_goal_has_a_row() -> None:
    assert {goal.id for goal in chosen(())} == {f"G{number}" for number in range(1, 14)} | {"G9b"}


def test_a_goal_is_found_however_its_name_is_written() -> None:
    assert goal_ids(" g1,G9B ") == {"G1", "G9b"}
    with pytest.raises(BenchFailed, match="There is no goal G99; there are G1, G2, "):
        goal_ids("G1,G99")


def test_a_stretch_is_never_easier_than_its_threshold() -> None:
    for goal in GOALS:
        assert goal.stretch is None or goal.is_met(goal.stretch, goal.threshold), goal
