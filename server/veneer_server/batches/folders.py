"""The folder of each unfinished batch on disk: its input, and its answers so far.

Every method blocks: call them in a thread. Rule: what the row of a batch counts of its answers was
flushed before. What follows in the file was not acknowledged, and is cut off at the next start.
"""

import fcntl
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import orjson

from veneer_adapters.faults import fault_point
from veneer_server.batches.errors import BatchesUnavailable
from veneer_server.batches.records import Progress

OUTPUT, ERRORS = "output.jsonl", "errors.jsonl"
_INPUT = "input.jsonl"


class Results:
    """The two files of answers of one batch, open to be continued."""

    def __init__(self, folder: Path, progress: Progress) -> None:
        """Cut off what was not acknowledged.

        Raises:
            BatchesUnavailable: less is there than was acknowledged.
        """
        self._sizes = {OUTPUT: progress.output_bytes, ERRORS: progress.error_bytes}
        self._files = {name: (folder / name).open("a+b", buffering=0) for name in self._sizes}
        self._lock()
        for name, size_bytes in self._sizes.items():
            if self._files[name].seek(0, os.SEEK_END) < size_bytes:
                self.close()
                raise BatchesUnavailable(f"{name} of the batch is shorter than it was.")
            self._files[name].truncate(size_bytes)

    def _lock(self) -> None:
        # A server that was silent for long may still be at it: two must not write.
        try:
            fcntl.flock(self._files[OUTPUT], fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise BatchesUnavailable("Another server works on the batch.") from None

    def done(self) -> set[str]:
        """Return the ``custom_id`` of each line that has its answer."""
        found = set()
        for file in self._files.values():
            file.seek(0)
            found |= {orjson.loads(line)["custom_id"] for line in file}
        return found

    def append(self, name: str, lines: Sequence[bytes]) -> int:
        """Add answers; return how many bytes the file has then, all of them flushed."""
        added = b"".join(lines)
        if added:
            with disk():
                self._write(name, added)
            self._sizes[name] += len(added)
        return self._sizes[name]

    def _write(self, name: str, added: bytes) -> None:
        file = self._files[name]
        try:
            fault_point("store.write")
            file.write(added)
            fault_point("store.fsync")
            os.fsync(file.fileno())
        except OSError:
            file.truncate(self._sizes[name])  # the same lines come again
            raise

    def close(self) -> None:
        """Close both files; a second call does nothing."""
        for file in self._files.values():
            file.close()


class Folders:
    """Where the folders of batches are; on the disk of the files, which may be shared."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def begin(self, batch_id: str, content: BinaryIO) -> None:
        """Make the folder of a batch, with its own hold on the bytes of the input."""
        folder = self._folder / batch_id
        with disk():
            folder.mkdir(parents=True)
            try:
                os.link(content.name, folder / _INPUT)
            except OSError:  # some file systems know no links, or the file was just deleted
                with (folder / _INPUT).open("xb") as copy:
                    shutil.copyfileobj(content, copy)
                    copy.flush()
                    os.fsync(copy.fileno())
            for path in (folder, self._folder):
                _fsync(path)

    def has(self, batch_id: str) -> bool:
        """Return whether this server can work on the batch."""
        return (self._folder / batch_id / _INPUT).exists()

    def input(self, batch_id: str) -> BinaryIO:
        """Open the input to read it; the caller must close it."""
        with disk():
            return (self._folder / batch_id / _INPUT).open("rb")

    def results(self, batch_id: str, progress: Progress) -> Results:
        """Open the answers so far, to go on; the caller must close them."""
        with disk():
            return Results(self._folder / batch_id, progress)

    def answers(self, batch_id: str, name: str) -> BinaryIO:
        """Open a file of answers to read it; the caller must close it."""
        with disk():
            return (self._folder / batch_id / name).open("rb")

    def end(self, batch_id: str) -> None:
        """Remove the folder; one that is gone already stays so."""
        with disk():
            if (self._folder / batch_id).exists():
                shutil.rmtree(self._folder / batch_id)

    def older_than(self, seconds: float) -> list[str]:
        """Return the id of each batch whose folder was made so long ago."""
        before_s = time.time() - seconds
        with disk():
            found = list(self._folder.glob("batch_*"))
            return [path.name for path in found if path.stat().st_mtime < before_s]


@contextmanager
def disk() -> Iterator[None]:
    """Let an error of the disk in the block be BatchesUnavailable."""
    try:
        yield
    except OSError as error:
        raise BatchesUnavailable("The server cannot read or write batches now.") from error


def _fsync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
