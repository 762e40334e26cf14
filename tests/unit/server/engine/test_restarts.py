"""When silence is a hang, how long a restart waits, and when it is enough."""

import pytest

from veneer_server.engine.restarts import Pulse, RestartPolicy

STALL_S = 5.0


def pulse() -> Pulse:
    return Pulse(STALL_S, now_s=0.0)


def test_an_idle_engine_that_answers_pings_is_well_for_ever() -> None:
    alive = pulse()
    for now_s in range(0, 100, 4):
        alive.answered(now_s)
        alive.saw(outputs=0, unfinished=0, now_s=now_s)
        assert not alive.is_hung(now_s)


def test_an_engine_that_answers_no_ping_hangs_also_when_it_is_idle() -> None:
    silent = pulse()
    silent.saw(outputs=0, unfinished=0, now_s=5.0)
    assert not silent.is_hung(5.0)
    silent.saw(outputs=0, unfinished=0, now_s=5.1)
    assert silent.is_hung(5.1)


def test_an_engine_that_has_work_and_sends_nothing_hangs_although_it_answers() -> None:
    stuck = pulse()
    stuck.saw(outputs=7, unfinished=1, now_s=1.0)
    for now_s in (3.0, 6.0, 6.1):
        stuck.answered(now_s)
        stuck.saw(outputs=7, unfinished=1, now_s=now_s)
    assert not stuck.is_hung(6.0)
    assert stuck.is_hung(6.1)


def test_work_that_goes_on_is_no_hang_however_long_it_takes() -> None:
    busy = pulse()
    for step in range(100):
        busy.answered(4.0 * step)
        busy.saw(outputs=step, unfinished=32, now_s=4.0 * step)
        assert not busy.is_hung(4.0 * step)


def test_the_silence_of_an_idle_hour_is_not_held_against_the_next_request() -> None:
    rested = pulse()
    rested.saw(outputs=3, unfinished=0, now_s=3600.0)
    rested.answered(3600.0)
    rested.saw(outputs=3, unfinished=1, now_s=3601.0)
    assert not rested.is_hung(3604.0)


def test_only_an_engine_that_has_been_silent_for_a_while_is_pinged() -> None:
    quiet = pulse()
    quiet.saw(outputs=1, unfinished=0, now_s=10.0)
    assert not quiet.needs_ping(11.0)
    assert quiet.needs_ping(11.25)
    quiet.answered(11.3)
    assert not quiet.needs_ping(12.0)


DELAYS = [
    ("the first death", [100.0], 100.0, 1.0),
    ("the second", [90.0, 100.0], 100.0, 2.0),
    ("the fifth", [60.0, 70.0, 80.0, 90.0, 100.0], 100.0, 16.0),
    ("the sixth in ten minutes: enough", [50.0, 60.0, 70.0, 80.0, 90.0, 100.0], 100.0, None),
    ("old deaths are forgiven", [0.0, 1.0, 2.0, 3.0, 4.0, 900.0], 900.0, 1.0),
]


@pytest.mark.parametrize(
    ("deaths_s", "now_s", "delay_s"), [case[1:] for case in DELAYS], ids=[c[0] for c in DELAYS]
)
def test_the_pause_doubles_until_it_is_enough(
    deaths_s: list[float], now_s: float, delay_s: float | None
) -> None:
    assert RestartPolicy().delay_s(deaths_s, now_s) == delay_s


def test_no_pause_is_longer_than_the_longest() -> None:
    policy = RestartPolicy(most=20, longest_delay_s=60.0)
    assert policy.delay_s([100.0] * 15, 100.0) == 60.0


def test_starts_that_fail_one_after_the_other_are_enough_however_long_each_took() -> None:
    policy = RestartPolicy()
    deaths_s = [0.0, 2000.0, 4000.0, 6000.0, 8000.0]
    assert policy.delay_s(deaths_s, 8000.0, failed_starts=4) == 16.0
    deaths_s.append(10000.0)
    assert policy.delay_s(deaths_s, 10000.0, failed_starts=5) is None
    assert "did not start 5 times in a row" in policy.why_given_up(deaths_s, 10000.0)
    assert "died 6 times within 600 s" in policy.why_given_up([9999.0] * 6, 10000.0)
