"""How many lines go on beside live traffic: the rule, and what it makes of simulated traffic."""

import random

import pytest

from veneer_server.batches.pace import Live, Pace, Room, next_holder, paced

ROOM = Room(16, 2)
ALONE = Live()


@pytest.mark.parametrize(
    ("lines", "passed_s", "live", "room", "wanted"),
    [
        (1, 1.0, ALONE, ROOM, 2),
        (1, 0.2, ALONE, ROOM, 1.2),
        (15.5, 1.0, ALONE, ROOM, 16),
        (16, 0.2, Live(1, 8), ROOM, 8),
        (16, 0.2, Live(500, 8), ROOM, 8),
        (1.5, 0.2, Live(1, 8), ROOM, 1),
        (1, 0.2, Live(1, 8), ROOM, 1),
        (1, 5.0, ALONE, Room(1, 1), 1),
        (16, 0.2, Live(0, 1), ROOM, 8),
        (3, 0.2, Live(0, 1), ROOM, 2),
        (1, 0.2, Live(0, 1), ROOM, 1.2),
        (1.9, 5.0, Live(0, 9), ROOM, 2),
    ],
)
def test_one_more_each_second_while_there_is_room_and_half_while_there_is_none(
    lines: float, passed_s: float, live: Live, room: Room, wanted: float
) -> None:
    found = paced(Pace(lines, 10.0), now_s=10.0 + passed_s, live=live, room=room)
    assert (found.lines, found.at_s) == (pytest.approx(wanted), 10.0 + passed_s)


def test_the_pace_does_not_depend_on_how_often_somebody_looks() -> None:
    often, seldom = Pace(), paced(Pace(), now_s=8.0, live=ALONE, room=Room(99, 1))
    for tick in range(1, 81):
        often = paced(often, now_s=tick / 10, live=ALONE, room=Room(99, 1))
    assert often.lines == pytest.approx(seldom.lines)


def test_who_has_fewest_lines_is_next_and_of_equals_who_waits_longest() -> None:
    assert next_holder(["a", "b", "c"], {"a": 2, "b": 1, "c": 1}) == "b"
    assert next_holder(["c", "b"], {}) == "c"
    assert next_holder([], {"a": 1}) is None


class Machine:
    """Sequences in seats, ten ticks a second; live ones first, those of a batch in what is left."""

    def __init__(self, seats: int, most: int, *, adaptive: bool = True) -> None:
        self.seats, self.most, self.adaptive = seats, most, adaptive
        self.pace = Pace()
        self.live: list[int] = []
        self.batch: list[int] = []
        self.waiting: list[int] = []
        self.waits: list[int] = []
        self.lines = 0
        self.allowed: list[int] = []

    def tick(self, now: int, arrivals: int, lasts: int = 10) -> None:
        self.live = [left - 1 for left in self.live if left > 1]
        ended = [left for left in self.batch if left <= 1]
        self.lines += len(ended)
        self.batch = [left - 1 for left in self.batch if left > 1]
        self.waiting += [now] * arrivals
        while self.waiting and len(self.live) + len(self.batch) < self.seats:
            self.waits.append(now - self.waiting.pop(0))
            self.live.append(lasts)
        live, room = Live(len(self.waiting), len(self.live)), Room(self.most, 4)
        self.pace = paced(self.pace, now_s=now / 10, live=live, room=room)
        allowed = self.pace.allowed if self.adaptive else self.most
        self.allowed.append(allowed)
        while len(self.batch) < allowed and len(self.live) + len(self.batch) < self.seats:
            self.batch.append(lasts)


def simulated(arrivals_per_s: float, *, adaptive: bool = True, most: int = 16) -> Machine:
    drawn = random.Random(7)  # noqa: S311 - the same traffic each time
    machine = Machine(32, most, adaptive=adaptive)
    for now in range(6000):
        machine.tick(now, sum(drawn.random() < arrivals_per_s / 100 for _ in range(10)))
    return machine


def test_without_live_traffic_a_batch_gets_all_that_it_may_have() -> None:
    machine = simulated(0)
    assert machine.allowed[-1] == 16
    assert machine.lines > 0.9 * 16 * 600


def test_with_much_live_traffic_a_batch_makes_room_and_never_stands_still() -> None:
    quiet, full = simulated(5), simulated(40)
    assert quiet.lines > 4 * full.lines > 0
    assert min(full.allowed) == 1
    assert full.allowed.count(1) > len(full.allowed) / 2


def test_live_requests_wait_less_than_beside_a_batch_that_does_not_yield() -> None:
    yielding, stubborn = simulated(28), simulated(28, adaptive=False)
    assert sum(yielding.waits) < sum(stubborn.waits) / 2


def test_after_the_traffic_has_gone_the_batch_has_everything_again_within_seconds() -> None:
    machine = Machine(32, 16)
    for now in range(100):
        machine.tick(now, 5)
    assert machine.pace.allowed == 1
    for now in range(100, 400):
        machine.tick(now, 0)
    assert machine.pace.allowed == 16
