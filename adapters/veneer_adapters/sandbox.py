"""Files of strangers are read in a process that is thrown away, never in the server.

A crash, a hang or a memory bomb of the reader is the refusal of one adapter. What comes back
is JSON of a few fixed shapes, checked field by field and never unpickled: a reader that was
taken over can lie about its own adapter and do nothing else.
"""

import errno
import json
import logging
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from veneer_adapters.confinement import Limits
from veneer_adapters.errors import (
    AdapterError,
    AdapterRejected,
    BaseUnreadable,
    NotRepairable,
    StorageFailed,
    Unparsable,
)
from veneer_adapters.manifest import BaseFacts, Manifest
from veneer_adapters.report import Repaired, Report

logger = logging.getLogger(__name__)

_MAX_ANSWER_BYTES = 4 << 20
_MAX_MESSAGE_CHARS = 600
_GRACE_S = 5.0
"""How much later than the process's own deadline nobody waits for it any more."""
_START_S = 60.0
_MOST_AT_ONCE = 8
_REPAIR = Limits(memory_bytes=16 << 30, cpu_s=3600, wall_s=3600.0, written_bytes=16 << 30)
"""Folding a DoRA multiplies whole matrices of the base model."""


class _Refused(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    reason: str
    message: str


class _Answer(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    found: Any = None
    refused: _Refused | None = None
    crashed: str | None = None


_T = TypeVar("_T")
_ANSWER, MANIFEST = TypeAdapter(_Answer), TypeAdapter(Manifest)
_REPORT, _REPAIRED = TypeAdapter(Report), TypeAdapter(Repaired)


class _ZygoteGone(Exception):
    """The process that forks is not there; another one can be started."""


class Sandbox:
    """Reads adapters in throw-away processes. All methods block and may be called anywhere."""

    def __init__(
        self,
        *,
        limits: Limits | None = None,
        at_once: int | None = None,
        repair_cpu_s: int = 3600,
    ) -> None:
        """Read ``at_once`` adapters side by side, by default one per core and at most 8.

        Each stays within ``limits``. Nothing is started before it is needed.
        """
        self._limits = limits or Limits()
        self._repair_limits = replace(_REPAIR, cpu_s=repair_cpu_s)
        self._free = threading.BoundedSemaphore(at_once or min(os.cpu_count() or 1, _MOST_AT_ONCE))
        self._lock = threading.Lock()
        self._zygote: _Zygote | None = None
        self._era = 0

    def verify(self, folder: Path, facts: BaseFacts) -> Manifest:
        """Return what ``checks.verify`` returns.

        Raises:
            AdapterRejected: the leaf ``checks.verify`` raised, or ``Unparsable``.
            StorageFailed: the files cannot be read now, or no process can be started.
        """
        request = {"folder": str(folder), "facts": asdict(facts)}
        return judge(self._ask("verify", request, self._limits), MANIFEST)

    def examine(self, folder: Path, facts: BaseFacts) -> Report:
        """Return what ``doctor.examine`` returns.

        Raises:
            Unparsable: the files could not be read within the limits.
            StorageFailed: the files cannot be read now, or no process can be started.
        """
        request = {"folder": str(folder), "facts": asdict(facts)}
        return judge(self._ask("examine", request, self._limits), _REPORT)

    def repair(
        self, folder: Path, out: Path, facts: BaseFacts, base: Path | None = None
    ) -> Repaired:
        """Write a repaired copy of ``folder`` that loads; ``out`` appears when it is complete.

        ``out`` must not exist, or be an empty folder. ``base`` is the base model's folder.

        Raises:
            NotRepairable: ``out`` is in use, or what ``repair.repair`` says.
            AdapterRejected: the files are damaged beyond what can be read.
            BaseUnreadable: ``base`` is not a model this can be compared with.
            StorageFailed: reading or writing failed.
        """
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise NotRepairable("The folder for the repaired copy exists and is not empty.")
        request = {"folder": str(folder), "facts": asdict(facts), "base": base and str(base)}
        try:
            with tempfile.TemporaryDirectory(prefix=".veneer-", dir=out.parent) as scratch:
                draft = Path(scratch) / "repaired"
                draft.mkdir()
                asked = {**request, "out": str(draft)}
                repaired = judge(self._ask("repair", asked, self._repair_limits), _REPAIRED)
                draft.replace(out)
        except OSError as error:
            what = os.strerror(error.errno or errno.EIO)
            raise StorageFailed(f"The repaired copy could not be written: {what}.") from error
        return repaired

    def close(self) -> None:
        """End every process; what runs fails. Safe to do twice; a later call starts anew."""
        with self._lock:
            zygote, self._zygote = self._zygote, None
            self._era += 1
        if zygote is not None:
            zygote.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _ask(self, job: str, request: Mapping[str, Any], limits: Limits) -> bytes:
        asked = json.dumps({"job": job, "limits": asdict(limits), **request}).encode()
        with self._free:
            return self._exchange(asked, limits.wall_s)

    def _exchange(self, request: bytes, wall_s: float) -> bytes:
        era = self._era
        # Once more, because a reader that was taken over may have ended everybody's zygote.
        for _ in range(2):
            with suppress(_ZygoteGone):
                zygote = self._running(era)
                answer = zygote.exchange(request, wall_s)
                if answer or zygote.is_alive():
                    return answer
        raise Unparsable

    def _running(self, era: int) -> "_Zygote":
        with self._lock:
            if era != self._era:
                raise StorageFailed("The process that reads adapters was ended.")
            if self._zygote is None or not self._zygote.is_alive():
                if self._zygote is not None:
                    self._zygote.close()
                self._zygote = _Zygote()
            return self._zygote


class _Zygote:
    """The running ``veneer_adapters.zygote``."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-P", "-s", "-S", "-m", "veneer_adapters.zygote",
                 str(theirs.fileno())],
                env=_environment(),
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                # Ctrl-C in the server's terminal is the server's business.
                start_new_session=True,
            )  # fmt: skip
        self._control = ours
        self._lock = threading.Lock()
        ours.settimeout(_START_S)
        self._greet()

    def _greet(self) -> None:
        try:
            greeting = self._control.recv(64)
        except OSError:
            greeting = b""
        if not greeting:
            self.close()
            raise StorageFailed("The process that reads adapters could not be started.")
        if greeting != b"no network":
            logger.warning("adapters are read with access to the network: no permission to leave")

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def exchange(self, request: bytes, wall_s: float) -> bytes:
        """Return what one child answered to ``request``, empty when it was ended.

        Raises:
            _ZygoteGone: there is nobody to fork it.
        """
        ours, theirs = socket.socketpair()
        with ours:
            with theirs, self._lock:
                try:
                    socket.send_fds(self._control, [f"{wall_s}".encode()], [theirs.fileno()])
                except OSError as error:
                    raise _ZygoteGone from error
            ends = time.monotonic() + wall_s + _GRACE_S
            with suppress(OSError):
                ours.settimeout(wall_s + _GRACE_S)
                ours.sendall(request)
                ours.shutdown(socket.SHUT_WR)
                return _receive(ours, ends)
        return b""

    def close(self) -> None:
        self._control.close()
        try:
            self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _environment() -> dict[str, str]:
    # None of ours: a reader that was taken over shall find no key there.
    return {
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "PYTHONDONTWRITEBYTECODE": "1",
        # A process that forks must have one thread.
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
    }


def _receive(connection: socket.socket, ends: float) -> bytes:
    answer = bytearray()
    while part := connection.recv(1 << 16):
        answer += part
        if len(answer) > _MAX_ANSWER_BYTES:
            return b""
        connection.settimeout(max(0.001, ends - time.monotonic()))
    return bytes(answer)


def judge(text: bytes, shape: TypeAdapter[_T]) -> _T:
    """Return what a reader found, which it may have made up but which has this ``shape``.

    Raises:
        AdapterError: what it says it was; ``Unparsable`` when it says nothing that can be.
    """
    if not text:
        raise Unparsable
    answer = _read(_ANSWER, text)
    if answer.refused is not None:
        raise _error(answer.refused)
    if answer.found is None:
        logger.warning("adapter reader gave up: %s", _plain(answer.crashed or "nothing said"))
        raise Unparsable
    return _read(shape, answer.found)


def _read(shape: TypeAdapter[_T], value: object) -> _T:
    try:
        if isinstance(value, bytes):
            return shape.validate_json(value)
        return shape.validate_python(value)
    except ValidationError:
        logger.warning("adapter reader answered nonsense")
        raise Unparsable from None


def _error(refused: _Refused) -> AdapterError:
    cls = _CLASSES.get(refused.reason, Unparsable)
    return cls(_plain(refused.message))


def _plain(text: str) -> str:
    shown = "".join(char if char.isprintable() else "?" for char in text)
    return shown[:_MAX_MESSAGE_CHARS]


_RAISED: tuple[type[AdapterError], ...] = (
    *AdapterRejected.__subclasses__(),
    StorageFailed,
    BaseUnreadable,
    NotRepairable,
)
_CLASSES = {leaf.reason: leaf for leaf in _RAISED}
"""What a reader may raise here: a leaf of the tree of errors, by its reason."""
