"""Reads untrusted files in a process that is thrown away, never in the server.

When the reader crashes, hangs or uses too much memory, only its own adapter is refused. A folder
that is held open is passed on as it is: the reader opens its files, whatever its path means then.
"""

import errno
import json
import os
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Self

from veneer_adapters.artifact.compression import Compression
from veneer_adapters.artifact.manifest import BaseFacts, Manifest
from veneer_adapters.artifact.opening import OpenFolder, Place
from veneer_adapters.doctor.report import Repaired, Report
from veneer_adapters.errors import NotRepairable, StorageFailed, Unparsable
from veneer_adapters.sandbox.confinement import Limits
from veneer_adapters.sandbox.forking import Zygote, ZygoteGone
from veneer_adapters.sandbox.grading import Graded
from veneer_adapters.sandbox.replies import COMPRESSION, GRADED, MANIFEST, REPAIRED, REPORT, judge

_REPAIR = Limits(memory_bytes=16 << 30, cpu_s=3600, wall_s=3600.0, written_bytes=16 << 30)
"""Larger, because folding a DoRA multiplies whole matrices of the base model."""
_GRADING = Limits(cpu_s=60, wall_s=120.0)
_COMPRESSING_S = 600
"""The time that an adapter may take where high ranks are compressed: one of rank 256 for an 8B
model has 448 matrices to be taken apart."""


class Sandbox:
    """Reads adapters in throw-away processes. All methods block; any thread may call them."""

    def __init__(
        self,
        *,
        limits: Limits | None = None,
        at_once: int | None = None,
        repair_cpu_s: int = 3600,
        grading: Limits | None = None,
    ) -> None:
        """Read ``at_once`` adapters side by side, by default one per core: at least 2, at most 8.

        Each stays within ``limits``. No process starts before it is needed.
        """
        self._limits = limits or Limits()
        self._grading = grading or _GRADING
        self._repair_limits = replace(_REPAIR, cpu_s=repair_cpu_s)
        self._free = threading.BoundedSemaphore(at_once or _readers(os.cpu_count() or 1))
        self._lock = threading.Lock()
        self._zygote: Zygote | None = None
        self._era = 0

    def verify(self, folder: Place, facts: BaseFacts) -> Manifest:
        """Return what ``checks.verify`` returns.

        Raises:
            AdapterRejected: the leaf that ``checks.verify`` raised, or ``Unparsable``.
            StorageFailed: the files cannot be read now, or no process can be started.
        """
        request = {"facts": asdict(facts)}
        return judge(self._ask("verify", folder, request, self._limits_for(facts)), MANIFEST)

    def examine(self, folder: Place, facts: BaseFacts) -> Report:
        """Return what ``doctor.examine`` returns.

        Raises:
            Unparsable: the files could not be read within the limits.
            StorageFailed: the files cannot be read now, or no process can be started.
        """
        request = {"facts": asdict(facts)}
        return judge(self._ask("examine", folder, request, self._limits_for(facts)), REPORT)

    def compress(self, folder: Place, out: Path, facts: BaseFacts) -> Compression:
        """Write ``folder`` at the rank of the slots into ``out``, which is empty.

        Raises:
            AdapterRejected: what ``compression.compress`` raised, or ``Unparsable``.
            StorageFailed: reading or writing failed.
        """
        request = {"facts": asdict(facts), "out": str(out)}
        return judge(self._ask("compress", folder, request, self._repair_limits), COMPRESSION)

    def repair(
        self, folder: Place, out: Path, facts: BaseFacts, base: Path | None = None
    ) -> Repaired:
        """Write a repaired copy of ``folder``, one that loads, to ``out``.

        ``out`` must not exist, or must be an empty folder; it appears when the copy is complete.
        ``base`` is the folder of the base model.

        Raises:
            NotRepairable: ``out`` is in use, or as for ``repair.repair``.
            AdapterRejected: the files are too damaged to be read.
            BaseUnreadable: ``base`` is not a model that the adapter can be compared with.
            StorageFailed: reading or writing failed.
        """
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise NotRepairable("The folder for the repaired copy must be new or empty.")
        request = {"facts": asdict(facts), "base": base and str(base)}
        try:
            with tempfile.TemporaryDirectory(prefix=".veneer-", dir=out.parent) as scratch:
                draft = Path(scratch) / "repaired"
                draft.mkdir()
                asked = {**request, "out": str(draft)}
                repaired = judge(self._ask("repair", folder, asked, self._repair_limits), REPAIRED)
                draft.replace(out)
        except OSError as error:
            what = os.strerror(error.errno or errno.EIO)
            raise StorageFailed(f"The repaired copy could not be written: {what}.") from error
        return repaired

    def grade(
        self, source: str, pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]
    ) -> Graded:
        """Return what the Python grader ``source`` says of each pair of a sample and an item.

        It is the operator's own code: it gets no network, no file to write and little time and
        memory, but it can read what the server can read.

        Raises:
            Unparsable: it crashed, or reached a limit.
            StorageFailed: no process can be started.
        """
        asked = {"limits": asdict(self._grading), "source": source, "pairs": list(pairs)}
        request = json.dumps({"job": "grade", **asked}).encode()
        era = self._era
        with self._free:
            return judge(self._exchange(request, (), self._grading.wall_s, era), GRADED)

    def close(self) -> None:
        """End every process; running calls fail.

        Closing twice is safe. A later call starts a new process.
        """
        with self._lock:
            zygote, self._zygote = self._zygote, None
            self._era += 1
        if zygote is not None:
            zygote.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _ask(self, job: str, folder: Place, request: Mapping[str, Any], limits: Limits) -> bytes:
        where, descriptors = _to_where(folder)
        asked = json.dumps({"job": job, "limits": asdict(limits), **where, **request}).encode()
        era = self._era
        with self._free:
            return self._exchange(asked, descriptors, limits.wall_s, era)

    def _limits_for(self, facts: BaseFacts) -> Limits:
        if facts.compress is None:
            return self._limits
        cpu_s, wall_s = self._limits.cpu_s, self._limits.wall_s
        most = (max(cpu_s, _COMPRESSING_S), max(wall_s, float(_COMPRESSING_S)))
        return replace(self._limits, cpu_s=most[0], wall_s=most[1])

    def _exchange(
        self, request: bytes, descriptors: Sequence[int], wall_s: float, era: int
    ) -> bytes:
        # Try twice: a reader that was taken over may have ended the zygote that all readers share.
        for _ in range(2):
            with suppress(ZygoteGone):
                zygote = self._running(era)
                answer = zygote.exchange(request, descriptors, wall_s)
                if answer or zygote.survived():
                    return answer
        raise Unparsable

    def _running(self, era: int) -> Zygote:
        with self._lock:
            if era != self._era:
                raise StorageFailed("The process that reads adapters was ended.")
            if self._zygote is None or not self._zygote.is_alive():
                if self._zygote is not None:
                    self._zygote.close()
                self._zygote = Zygote()
            return self._zygote


def _readers(cores: int) -> int:
    # Never one alone: a check of a large file must not keep a publication waiting.
    return min(max(cores, 2), 8)


def _to_where(folder: Place) -> tuple[dict[str, str], Sequence[int]]:
    """Return how a request names ``folder``, and the descriptors that go with it."""
    if isinstance(folder, OpenFolder):
        return {"folder": str(folder.path), "root": str(folder.root)}, folder.descriptors
    return {"folder": str(folder)}, ()
