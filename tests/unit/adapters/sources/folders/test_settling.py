"""When a folder counts as finished, decided from looks alone."""

from pathlib import Path

import pytest

from veneer_adapters.sources.base import Changed, Removed, Root
from veneer_adapters.sources.folders.settling import Seen, Settling

ROOT = Root(Path("/adapters"))
FOLDER = ROOT.path / "a"
TOLD = Changed("a", FOLDER, ROOT)


def seen(size: int, *, quiet_s: float = 0.0) -> dict[str, Seen]:
    return {"a": Seen(FOLDER, ROOT, (("adapter_config.json", size, 0, 0, 0),), quiet_s)}


@pytest.fixture
def settling() -> Settling:
    return Settling(1.0)


def test_a_folder_that_was_quiet_long_enough_is_told_at_the_first_look(settling: Settling) -> None:
    assert settling.look(seen(1, quiet_s=1.0), 0.0) == [TOLD]
    assert settling.due_s() is None


def test_a_fresh_folder_is_told_when_it_stayed_the_same(settling: Settling) -> None:
    assert settling.look(seen(1), 10.0) == []
    assert settling.due_s() == 11.0
    assert settling.look(seen(1), 10.9) == []
    assert settling.look(seen(1), 11.0) == [TOLD]


def test_each_change_starts_the_wait_again(settling: Settling) -> None:
    for now in range(10):
        assert settling.look(seen(now), float(now)) == []
    assert settling.look(seen(9), 10.0) == [TOLD]


def test_a_clock_that_is_ahead_of_the_file_system_or_behind_it_only_delays(
    settling: Settling,
) -> None:
    assert settling.look(seen(1, quiet_s=-1000.0), 0.0) == []
    assert settling.look(seen(1, quiet_s=-999.0), 1.0) == [TOLD]


def test_what_was_told_is_told_again_only_when_it_changed(settling: Settling) -> None:
    settling.look(seen(1, quiet_s=9.0), 0.0)
    assert settling.look(seen(1, quiet_s=99.0), 90.0) == []
    assert settling.look(seen(2, quiet_s=9.0), 91.0) == [TOLD]


def test_a_change_that_is_taken_back_is_no_change(settling: Settling) -> None:
    settling.look(seen(1, quiet_s=9.0), 0.0)
    assert settling.look(seen(2), 1.0) == []
    assert settling.look(seen(1), 1.5) == []
    assert settling.due_s() is None


def test_a_folder_is_gone_when_it_stayed_away(settling: Settling) -> None:
    settling.look(seen(1, quiet_s=9.0), 0.0)
    assert settling.look({}, 1.0) == []
    assert settling.pending() == [("a", None)]
    assert settling.look({}, 2.0) == [Removed("a")]
    assert settling.look({}, 3.0) == []


def test_a_folder_that_is_replaced_is_never_gone(settling: Settling) -> None:
    settling.look(seen(1, quiet_s=9.0), 0.0)
    assert settling.look({}, 1.0) == []
    assert settling.look(seen(2), 1.5) == []
    assert settling.look(seen(2), 2.5) == [TOLD]


def test_a_folder_that_came_and_went_before_it_settled_is_never_told(settling: Settling) -> None:
    assert settling.look(seen(1), 0.0) == []
    assert settling.look({}, 0.5) == []
    assert settling.look({}, 5.0) == []


def test_what_is_to_be_retried_is_told_again_unchanged(settling: Settling) -> None:
    settling.look(seen(1, quiet_s=9.0), 0.0)
    settling.forget("a")
    assert settling.look(seen(1, quiet_s=10.0), 1.0) == [TOLD]


def test_what_is_to_be_retried_and_went_meanwhile_is_gone(settling: Settling) -> None:
    settling.look(seen(1, quiet_s=9.0), 0.0)
    settling.forget("a")
    settling.look({}, 1.0)
    assert settling.look({}, 2.0) == [Removed("a")]
