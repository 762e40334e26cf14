"""Fault points: nothing until armed, then exactly what was asked for; every one is reached."""

import errno
import re
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from support.places import REPOSITORY
from veneer_adapters.faults import POINTS, arm, disarm, fault_point


def failures(point: str, times: int) -> list[int | None]:
    """Return what each of ``times`` passes through ``point`` raises."""
    seen: list[int | None] = []
    for _ in range(times):
        try:
            fault_point(point)
        except OSError as error:
            seen.append(error.errno)
        else:
            seen.append(None)
    return seen


@pytest.mark.parametrize("point", POINTS)
def test_a_point_that_is_not_armed_does_nothing(point: str, armed: Callable[[str], None]) -> None:
    armed(f"{'store.write' if point != 'store.write' else 'store.fsync'}:1+:error")
    assert failures(point, 3) == [None] * 3


CASES = [
    ("2:enospc", [None, errno.ENOSPC, None]),
    ("2+:error", [None, errno.EIO, errno.EIO]),
    ("1:error", [errno.EIO, None, None]),
]


@pytest.mark.parametrize(("what", "seen"), CASES, ids=[case[0] for case in CASES])
def test_the_nth_time_goes_wrong_and_with_a_plus_every_later_one(
    what: str, seen: list[int | None], armed: Callable[[str], None]
) -> None:
    armed(f"store.write:{what}")
    assert failures("store.write", 3) == seen


@pytest.mark.slow
def test_kill_ends_the_process_as_kill_9_does() -> None:
    code = "from veneer_adapters.faults import *; arm('store.write:2:kill')\n"
    code += "for _ in 'ab': print('alive', flush=True); fault_point('store.write')\n"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, timeout=30, check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert done.stdout == b"alive\nalive\n"


def test_what_is_disarmed_does_nothing() -> None:
    arm("store.write:1+:error")
    assert failures("store.write", 1) == [errno.EIO]
    assert disarm() == {"store.write": 1}
    assert failures("store.write", 1) == [None]


BAD = ["", "store.write", "store.write:0:kill", "store.write:x:kill", "store.write:1:explode"]


@pytest.mark.parametrize("spec", [*BAD, "nowhere:1:kill", "store.write:1:kill "])
def test_a_fault_that_is_not_understood_is_refused_with_what_there_is(spec: str) -> None:
    with pytest.raises(ValueError, match="point:n:action") as caught:
        arm(spec)
    assert all(point in str(caught.value) for point in POINTS)


def test_every_point_is_passed_somewhere_and_every_passed_one_is_declared() -> None:
    calls = re.compile(r"fault_point\(\s*\"([^\"]*)\"")
    passed = {
        name
        for package in ("adapters/veneer_adapters", "server/veneer_server")
        for file in (REPOSITORY / package).rglob("*.py")
        for name in calls.findall(file.read_text(encoding="utf-8"))
    }
    assert passed == set(POINTS)
    assert len(set(POINTS)) == len(POINTS)
