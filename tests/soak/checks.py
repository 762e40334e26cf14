"""What must hold after a soak. Pure functions: each returns one sentence for each violation."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from soak.ledger import End, Kind, Life, Record, Trouble
from support.swapping import Pointer

Golden = Mapping[tuple[str, str], str]
"""``name@revision`` (the base: its name) and prompt -> the answer that it gives alone."""

_EXPECTED = {Kind.UNKNOWN: (404, "model_not_found"), Kind.INVALID: (400, None)}
_MOMENTARY = frozenset({"engine_lost", "engine_unavailable", "server_shutting_down"})
"""Codes that a fault of the engine or the end of the gateway explains."""


def honest_ends(records: Sequence[Record], troubles: Sequence[Trouble]) -> Iterator[str]:
    """Each request has one outcome, and errors of the server are there only in troubles."""
    for record in records:
        excuses = [t for t in troubles if t.excuses and t.touches(record)]
        if not _is_honest(record, excuses):
            told = f"{record.status or ''} {record.code or ''}".strip()
            yield f"{record.request_id} ({record.kind}) was {record.end} {told} without a cause"


def _is_honest(record: Record, excuses: Sequence[Trouble]) -> bool:
    if record.end in (End.CUT, End.UNANSWERED):
        return any(trouble.kills_gateway for trouble in excuses)
    if record.code in _MOMENTARY:
        return bool(excuses)
    if record.kind in _EXPECTED:
        return (record.status, record.code) == _EXPECTED[record.kind]
    return record.end is not End.ERROR


def right_weights(records: Sequence[Record], golden: Golden) -> Iterator[str]:
    """A complete answer is the one of the revision in its header, alone."""
    for record in records:
        if record.end is not End.COMPLETED:
            continue
        by = record.served_by.partition("#")[0] or record.model
        if record.text != golden[by, record.prompt]:
            others = [n for (n, p), t in golden.items() if (p, t) == (record.prompt, record.text)]
            yield f"{record.request_id} by {by} has the answer of {others or 'nobody'}"


def right_revisions(records: Sequence[Record], pointers: Mapping[str, Pointer]) -> Iterator[str]:
    """The revision in the header is one that the name pointed to while the request was resolved."""
    for record in records:
        if not record.served_by or record.model not in pointers:
            continue
        number = int(record.served_by.partition("@")[2].partition("#")[0])
        allowed = pointers[record.model].between(record.sent_s, record.begun_s)
        if number not in allowed:
            yield f"{record.request_id} on {record.model} got {number}, allowed were {allowed}"


def one_line_each(records: Sequence[Record], lives: Sequence[Life]) -> Iterator[str]:
    """The server wrote each request down once; at most once if its gateway was killed."""
    lines: Counter[str] = sum((life.ids() for life in lives), Counter())
    for record in records:
        found = lines[record.request_id]
        uncertain = record.end in (End.CUT, End.UNANSWERED)
        if found > 1 or (found == 0 and not uncertain):
            yield f"{record.request_id} ({record.kind} {record.end}) has {found} lines in the log"


def counters_equal(records: Sequence[Record], lives: Sequence[Life]) -> Iterator[str]:
    """The counter of completed requests is what the log says, and what the clients saw."""
    ends = {record.request_id: record.end for record in records}
    for life in lives:
        if life.completed is None:
            continue
        logged = [str(x["request_id"]) for x in life.lines if x.get("outcome") == "completed"]
        if life.completed != len(logged):
            yield f"the counter says {life.completed:g} completed, the log {len(logged)}"
        for request_id in logged:
            if ends.get(request_id, End.COMPLETED) not in (End.COMPLETED, End.LEFT):
                yield f"{request_id} is completed in the log and {ends[request_id]} at its client"
