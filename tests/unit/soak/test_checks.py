"""What a soak finds when something does not hold, and that it finds nothing when all holds."""

import json
from pathlib import Path
from typing import Any

import pytest

from soak import checks
from soak.ledger import End, Kind, Life, Record, Trouble, completed_in
from support.swapping import Pointer

GOLDEN = {("a@1", "p"): "one", ("a@2", "p"): "two", ("tiny", "p"): "base"}
DIGEST = "#sha256:0123456789ab"


def asked(**more: Any) -> Record:
    """Return a request that was answered completely by revision 1."""
    told: dict[str, Any] = {
        "request_id": "r1",
        "kind": Kind.STREAM,
        "model": "a",
        "prompt": "p",
        "sent_s": 10.0,
        "begun_s": 11.0,
        "ended_s": 12.0,
        "end": End.COMPLETED,
        "status": 200,
        "served_by": "a@1" + DIGEST,
        "text": "one",
    }
    return Record(**{**told, **more})


def refused(status: int, code: str | None, **more: Any) -> Record:
    return asked(end=End.ERROR, status=status, code=code, served_by="", text="", **more)


def trouble(**more: Any) -> Trouble:
    return Trouble(**{"name": "x", "since_s": 9.0, "until_s": 11.0, **more})


@pytest.mark.parametrize(
    ("record", "troubles"),
    [
        (asked(), []),
        (asked(end=End.LEFT), []),
        (refused(404, "model_not_found", kind=Kind.UNKNOWN), []),
        (refused(400, None, kind=Kind.INVALID), []),
        (refused(503, "engine_lost"), [trouble()]),
        (refused(503, "engine_unavailable", kind=Kind.INVALID), [trouble()]),
        (asked(end=End.CUT), [trouble(kills_gateway=True)]),
        (asked(end=End.UNANSWERED), [trouble(kills_gateway=True)]),
    ],
)
def test_an_end_with_a_cause_is_honest(record: Record, troubles: list[Trouble]) -> None:
    assert list(checks.honest_ends([record], troubles)) == []


@pytest.mark.parametrize(
    ("record", "troubles"),
    [
        (refused(503, "engine_lost"), []),
        (refused(503, "engine_lost"), [trouble(since_s=13.0, until_s=14.0)]),
        (refused(503, "engine_lost"), [trouble(excuses=False)]),
        (refused(500, "internal_error"), [trouble()]),
        (refused(503, "adapter_capacity"), [trouble()]),
        (asked(kind=Kind.UNKNOWN), []),
        (refused(404, None, kind=Kind.INVALID), []),
        (asked(end=End.CUT), [trouble()]),
        (asked(end=End.UNANSWERED), []),
    ],
)
def test_an_end_without_a_cause_is_a_violation(record: Record, troubles: list[Trouble]) -> None:
    [told] = checks.honest_ends([record], troubles)
    assert "r1" in told


def test_an_answer_of_other_weights_is_a_violation_that_names_them() -> None:
    assert list(checks.right_weights([asked()], GOLDEN)) == []
    assert (
        list(checks.right_weights([asked(model="tiny", served_by="", text="base")], GOLDEN)) == []
    )
    [told] = checks.right_weights([asked(text="two")], GOLDEN)
    assert "a@2" in told
    [told] = checks.right_weights([asked(text="three")], GOLDEN)
    assert "nobody" in told


def test_a_revision_that_the_name_did_not_point_to_is_a_violation() -> None:
    pointer = Pointer()
    pointer.moved(1, 0.0, 0.0)
    pointer.moved(2, 11.5, 11.6)
    assert list(checks.right_revisions([asked()], {"a": pointer})) == []
    [told] = checks.right_revisions([asked(served_by="a@2" + DIGEST)], {"a": pointer})
    assert "got 2" in told


def life_of(folder: Path, *ids: str, completed: float | None = None) -> Life:
    log = folder / "server.log"
    lines = [{"event": "request", "request_id": name, "outcome": "completed"} for name in ids]
    log.write_text("ready\n" + "".join(json.dumps(line) + "\n" for line in lines))
    life = Life(log, 0.0, completed=completed)
    life.read()
    return life


@pytest.mark.parametrize(
    ("ids", "record", "violations"),
    [
        (("r1",), asked(), 0),
        ((), asked(), 1),
        (("r1", "r1"), asked(), 1),
        ((), asked(end=End.CUT), 0),
        (("r1", "r1"), asked(end=End.CUT), 1),
    ],
)
def test_each_request_has_one_line(
    tmp_path: Path, ids: tuple[str, ...], record: Record, violations: int
) -> None:
    found = list(checks.one_line_each([record], [life_of(tmp_path, *ids)]))
    assert len(found) == violations


@pytest.mark.parametrize(
    ("completed", "record", "violations"),
    [
        (1.0, asked(), 0),
        (1.0, asked(end=End.LEFT), 0),
        (None, asked(end=End.ERROR), 0),
        (2.0, asked(), 1),
        (1.0, asked(end=End.ERROR), 1),
    ],
)
def test_the_counter_the_log_and_the_client_agree(
    tmp_path: Path, completed: float | None, record: Record, violations: int
) -> None:
    found = list(checks.counters_equal([record], [life_of(tmp_path, "r1", completed=completed)]))
    assert len(found) == violations


def test_completed_requests_are_summed_over_their_labels() -> None:
    page = (
        'veneer_requests_total{adapter="a",endpoint="chat",outcome="completed"} 3.0\n'
        'veneer_requests_total{adapter="b",endpoint="chat",outcome="completed"} 4.0\n'
        'veneer_requests_total{adapter="b",endpoint="chat",outcome="failed"} 5.0\n'
    )
    assert completed_in(page) == 7
