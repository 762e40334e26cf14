"""Threads that run Python at the same time take short turns."""

import sys
from collections.abc import Iterator

import pytest

from veneer_server.turns import shorten_turns


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before_s = sys.getswitchinterval()
    yield
    sys.setswitchinterval(before_s)


def test_a_thread_gives_the_interpreter_up_within_a_millisecond() -> None:
    shorten_turns()
    assert sys.getswitchinterval() < 0.001
