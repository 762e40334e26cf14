"""Named points where a test can kill the process or make the disk fail, as SQLite tests itself.

A point costs one look at an empty dict until ``arm`` is called. Only tests call it. The
server calls it only when it is started with ``--unsafe-test-hooks``.
"""

import errno
import os
import re
import signal
import threading

POINTS = (
    "source.read",
    "store.write",
    "store.fsync",
    "store.rename",
    "store.remove",
    "catalog.begin",
    "catalog.write",
    "catalog.commit",
    "catalog.committed",
    "training.step",
    "training.write",
    "training.rename",
    "training.reference",
)
"""Every point there is. A new call of ``fault_point`` with a new name needs a new entry here."""

_ACTIONS = {"kill": None, "error": errno.EIO, "enospc": errno.ENOSPC}
_SPEC = re.compile(r"(?P<point>[a-z._]+):(?P<hit>[1-9][0-9]*)(?P<on>\+?):(?P<action>[a-z]+)")


class _Fault:
    def __init__(self, hit: int, lasting: bool, action: str) -> None:
        self._hit = hit
        self._lasting = lasting
        self._errno = _ACTIONS[action]
        self.seen = 0
        self._lock = threading.Lock()

    def happen(self) -> None:
        with self._lock:
            self.seen += 1
            if self.seen < self._hit or (self.seen > self._hit and not self._lasting):
                return
        if self._errno is None:
            os.kill(os.getpid(), signal.SIGKILL)
        else:
            raise OSError(self._errno, os.strerror(self._errno))


_armed: dict[str, _Fault] = {}


def fault_point(name: str) -> None:
    """Do nothing, unless a test armed ``name``; then end the process or raise OSError."""
    if _armed and name in _armed:
        _armed[name].happen()


def arm(spec: str) -> None:
    """Make the n-th pass of a point go wrong; ``spec`` is ``point:n:action``.

    ``n+`` means the n-th pass and every later one. The action ``kill`` sends SIGKILL to this
    process; ``error`` and ``enospc`` raise OSError with EIO and ENOSPC.

    Raises:
        ValueError: ``spec`` has another form, or names an unknown point or action.
    """
    found = _SPEC.fullmatch(spec)
    if found is None or found["point"] not in POINTS or found["action"] not in _ACTIONS:
        raise ValueError(
            f"Write a fault as point:n:action or point:n+:action. The points are"
            f" {', '.join(POINTS)}; the actions are {', '.join(_ACTIONS)}."
        )
    _armed[found["point"]] = _Fault(int(found["hit"]), found["on"] == "+", found["action"])


def disarm() -> dict[str, int]:
    """Disarm every point; return how often the process passed each one while it was armed."""
    passed = {point: fault.seen for point, fault in _armed.items()}
    _armed.clear()
    return passed
