"""Which peers are started, how often, and in which order."""

from veneer_server.bench.goals.goals import GOALS
from veneer_server.bench.peers.peers import Name
from veneer_server.bench.plan import FAR, STATIONS, visits

ALL: frozenset[str] = frozenset()


def names(goals: frozenset[str] = ALL, rounds: int = 1, *, quick: bool = False) -> list[Name]:
    return [visit.station.name for visit in visits(goals, rounds, quick=quick)]


def test_every_figure_a_goal_needs_is_measured_on_its_peer() -> None:
    measured = {
        (station.name, goal)
        for station in STATIONS
        for measure in station.measures
        for goal in measure.goals
    }
    needed = {(peer[0], goal.id) for goal in GOALS for peer in (goal.figure, goal.over) if peer}
    assert needed <= measured


def test_only_the_peers_of_the_chosen_goals_are_started() -> None:
    assert names(frozenset({"G3"})) == [Name.VENEER]
    assert names(frozenset({"G4"})) == [Name.PLAIN, Name.VENEER]
    assert names(frozenset({"G9"})) == [Name.VENEER_FP32]


def test_every_other_round_goes_backwards() -> None:
    assert names(frozenset({"G4"}), 3) == [
        *(Name.PLAIN, Name.VENEER),
        *(Name.VENEER, Name.PLAIN),
        *(Name.PLAIN, Name.VENEER),
    ]


def test_what_is_far_from_its_threshold_has_fewer_rounds() -> None:
    assert names(rounds=5).count(Name.LLAMA_Q4) == FAR
    assert names(rounds=5).count(Name.VENEER) == 5


def test_a_quick_run_starts_four_peers_once() -> None:
    assert names(quick=True) == [
        Name.DEFAULT,
        Name.PLAIN,
        Name.VENEER,
        Name.LLAMA_Q4,
    ]
