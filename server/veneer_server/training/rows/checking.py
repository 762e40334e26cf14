"""The first look at a training file: whether each row is one, before any is made into tokens."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from veneer_server.training.rows.bounds import Bounds
from veneer_server.training.rows.faults import Fault, Faults, InvalidRow, TooFewRows
from veneer_server.training.rows.lines import lines
from veneer_server.training.rows.parsing import parse_line
from veneer_server.training.rows.rows import Method, Row, read_row


@dataclass(frozen=True, slots=True)
class NumberedRow:
    """A row that can be used, where it stands, and what its bytes are."""

    line: int
    row: Row
    digest: bytes


@dataclass(frozen=True, slots=True)
class Checked:
    """A file whose rows are all right."""

    path: Path
    method: Method
    digests: tuple[bytes, ...]
    """The digest of each row, in the order of the file."""


def check(path: Path, method: Method, bounds: Bounds | None = None) -> Checked:
    """Return what ``path`` holds, when each of its rows can be used.

    It has one row in memory at a time. It reads and computes all the while: call it in a thread.

    Raises:
        InvalidTrainingFile: rows are wrong; all of them are looked at.
        TooFewRows: it has fewer rows than a job needs.
    """
    bounds = bounds or Bounds()
    faults, digests, kinds = Faults(bounds.most_faults), list[bytes](), set[type[Row]]()
    with path.open("rb") as file:
        for found in _rows(file, method, bounds):
            if isinstance(found, Fault):
                faults.add(found)
                continue
            digests.append(found.digest)
            kinds.add(type(found.row))
            if len(kinds) > 1:
                faults.add(Fault(found.line, "the file has conversations and completions mixed"))
                break
    faults.raise_any()
    if len(digests) < bounds.least_rows:
        raise TooFewRows(len(digests), bounds.least_rows)
    return Checked(path, method, tuple(digests))


def method_of(file: BinaryIO, bounds: Bounds | None = None) -> Method:
    """Return the method that the first row of ``file`` is for; ``check`` looks at all of them."""
    first = next((one for one in lines(file, bounds or Bounds())), None)
    if first is None or isinstance(first, Fault):
        return Method.SUPERVISED
    try:
        return Method.DPO if "input" in parse_line(first[1]) else Method.SUPERVISED
    except InvalidRow:
        return Method.SUPERVISED


def rows(checked: Checked, bounds: Bounds | None = None) -> Iterator[NumberedRow]:
    """Yield the rows of a file that was checked."""
    with checked.path.open("rb") as file:
        for found in _rows(file, checked.method, bounds or Bounds()):
            if isinstance(found, NumberedRow):
                yield found


def _rows(file: BinaryIO, method: Method, bounds: Bounds) -> Iterator[NumberedRow | Fault]:
    for found in lines(file, bounds):
        if isinstance(found, Fault):
            yield found
            continue
        number, line = found
        try:
            row = read_row(parse_line(line), method)
        except InvalidRow as error:
            yield Fault(number, error.reason, error.column)
        else:
            yield NumberedRow(number, row, hashlib.sha256(line).digest())
