"""The folder of each unfinished job. Every method blocks: call them in a thread."""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from veneer_server.training.job import NAME
from veneer_server.training.jobs.errors import JobsUnavailable


class Folders:
    """Where the folders of jobs are; only this server works on them."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def of(self, job_id: str) -> Path:
        """Return where the folder of a job is, or would be."""
        return self.root / job_id

    def begin(self, job_id: str) -> Path:
        """Make the folder of a job."""
        with disk():
            self.of(job_id).mkdir(parents=True)
        return self.of(job_id)

    def take(self, job_id: str, name: str, content: BinaryIO) -> Path:
        """Hold the bytes of an uploaded file in the folder of the job; return where."""
        path = self.of(job_id) / name
        with disk():
            try:
                os.link(content.name, path)
            except OSError:  # some file systems know no links, or the file was just deleted
                with path.open("xb") as copy:
                    shutil.copyfileobj(content, copy)
        return path

    def has(self, job_id: str) -> bool:
        """Return whether this server can work on the job."""
        return (self.of(job_id) / NAME).exists()

    def end(self, job_id: str) -> None:
        """Remove the folder; one that is gone already stays so."""
        with disk():
            if self.of(job_id).exists():
                shutil.rmtree(self.of(job_id))

    def older_than(self, seconds: float) -> list[str]:
        """Return the id of each job whose folder was made so long ago."""
        before_s = time.time() - seconds
        with disk():
            found = list(self.root.glob("ftjob-*"))
            return [path.name for path in found if path.stat().st_mtime < before_s]


@contextmanager
def disk() -> Iterator[None]:
    """Let an error of the disk in the block be JobsUnavailable."""
    try:
        yield
    except OSError as error:
        why = f"The server cannot read or write the files of jobs now: {error.strerror}."
        raise JobsUnavailable(why) from error
