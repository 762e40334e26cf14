"""Which connection makes room for another."""

import pytest

from veneer_server.api.http.crowd import choose_idlest


class Waiting:
    """A connection that is idle since then, or not at all."""

    def __init__(self, since_s: float | None) -> None:
        self.since_s = since_s

    def idle_since_s(self) -> float | None:
        return self.since_s


@pytest.mark.parametrize(
    ("since_s", "chosen"),
    [([], None), ([None, None], None), ([3.0, 1.0, None, 2.0], 1), ([0.0], 0)],
    ids=["nobody", "all-busy", "the-longest", "since-the-start"],
)
def test_the_one_that_was_idle_longest_is_chosen(
    since_s: list[float | None], chosen: int | None
) -> None:
    connections = [Waiting(one) for one in since_s]
    assert choose_idlest(connections) is (None if chosen is None else connections[chosen])
