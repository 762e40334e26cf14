"""Who leaves when the slots are full."""

from collections.abc import Sequence

import pytest

from veneer_adapters.residency.eviction import Resident, choose_victim

A_OLD, B_NEW = Resident("a", 0, 1.0), Resident("b", 0, 2.0)
C_BUSY, D_PINNED = Resident("c", 1, 0.0), Resident("d", 0, 0.0, pinned=True)

CASES: list[tuple[str, list[Resident], str | None]] = [
    ("nothing loaded, nobody leaves", [], None),
    ("the longest idle leaves", [B_NEW, A_OLD], "a"),
    ("a leased adapter stays, however old", [C_BUSY, B_NEW], "b"),
    ("a pinned adapter stays, however old", [D_PINNED, B_NEW], "b"),
    ("all leased or pinned: nobody leaves", [C_BUSY, D_PINNED], None),
    ("a tie goes by name", [Resident("z", 0, 1.0), A_OLD], "a"),
]


@pytest.mark.parametrize(("residents", "victim"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_choose_victim(residents: Sequence[Resident], victim: str | None) -> None:
    assert choose_victim(residents) == victim


def test_a_resident_knows_the_adapter_it_belongs_to() -> None:
    assert Resident("team/a@sha256:0", 0, 0.0).adapter == "team/a"
