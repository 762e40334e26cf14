"""Is all well? The words of the overview."""

import pytest

from veneer_server.console.figures.reading import Counts, Reading
from veneer_server.console.figures.recent import Lately
from veneer_server.console.overview.verdicts import Word, judge

SLOTS = {("device", "used"): 2.0, ("device", "free"): 0.0, ("host", "used"): 3.0}


def words(trouble: str | None = None, states: dict[str, int] | None = None, **now: object) -> str:
    lately = Lately(Reading(0.0), Reading(60.0, slots=SLOTS, **now))  # type: ignore[arg-type]
    verdicts = judge(trouble, lately, states or {"ready": 3})
    assert all(v.advice for v in verdicts if v.word is not Word.WELL)
    return " ".join(f"{v.about}={v.word}" for v in verdicts if v.word is not Word.WELL)


CASES = [
    ("all is well", words(), ""),
    ("not ready", words("The engine is starting."), "Serving=wrong"),
    ("started again", words(restarts=2.0), "Serving=look"),
    ("a request failed", words(whole=Counts(requests=9, failed=1)), "Requests=look"),
    ("requests wait while slots are taken", words(waiting=4.0), "Queue=look Slots=look"),
    ("an adapter failed", words(states={"ready": 1, "failed": 2}), "Adapters=look"),
]


@pytest.mark.parametrize(("found", "expected"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_a_verdict_says_what_is_not_well(found: str, expected: str) -> None:
    assert found == expected
