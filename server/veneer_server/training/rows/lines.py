"""The lines of a file, one in memory at a time, however long a line is."""

from collections.abc import Iterator
from typing import BinaryIO

from veneer_server.training.rows.bounds import Bounds
from veneer_server.training.rows.faults import Fault

_BOM = b"\xef\xbb\xbf"
_PIECE_BYTES = 2**16


def lines(file: BinaryIO, bounds: Bounds) -> Iterator[tuple[int, bytes] | Fault]:
    """Yield each line that is not blank with its number, or a fault in its place.

    It ends with the fault that the file is too large or has too many rows.
    """
    number = rows = size = 0
    while line := file.readline(bounds.row_bytes + 1):
        number += 1
        size += len(line)
        if len(line) > bounds.row_bytes and not line.endswith(b"\n"):
            size += _skip_line(file)
            yield Fault(number, f"the row is larger than {bounds.row_bytes} bytes")
        elif text := _trimmed(line, number):
            rows += 1
            yield number, text
        if over := _over(rows, size, bounds):
            yield Fault(number, over)
            return


def _skip_line(file: BinaryIO) -> int:
    skipped = 0
    while piece := file.readline(_PIECE_BYTES):
        skipped += len(piece)
        if piece.endswith(b"\n"):
            break
    return skipped


def _trimmed(line: bytes, number: int) -> bytes:
    # Some editors begin a file with a byte order mark, which JSON does not know.
    return (line.removeprefix(_BOM) if number == 1 else line).rstrip(b" \t\r\n")


def _over(rows: int, size: int, bounds: Bounds) -> str | None:
    if rows > bounds.most_rows:
        return f"the file has more than {bounds.most_rows} rows"
    if size > bounds.file_bytes:
        return f"the file is larger than {bounds.file_bytes} bytes"
    return None
