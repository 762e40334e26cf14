"""Takes rights from a process before it reads untrusted files. Linux only; no way back."""

import ctypes
import errno
import os
import resource
import signal
from contextlib import suppress
from dataclasses import dataclass

# Looked up here, because they are used after a fork, where each changed page is copied.
_LIBC = ctypes.CDLL(None, use_errno=True)
_PRCTL, _UNSHARE = _LIBC.prctl, _LIBC.unshare

_NEW_USERS, _NEW_NETWORK = 0x10000000, 0x40000000
"""Source: linux/sched.h, CLONE_NEWUSER and CLONE_NEWNET."""
_END_WITH_PARENT, _NO_NEW_PRIVILEGES = 1, 38
"""Source: linux/prctl.h, PR_SET_PDEATHSIG and PR_SET_NO_NEW_PRIVS."""
_OPEN_FILES = 32
_FIRST_VICTIM = b"1000"
"""Source: proc(5), oom_score_adj: when memory runs out, the kernel ends this process first."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one throw-away process may use; beyond that it fails or is ended."""

    memory_bytes: int = 1 << 30
    """Address space. Weights are read in pieces, so their size does not matter."""
    cpu_s: int = 20
    wall_s: float = 60.0
    written_bytes: int = 0
    """The size of the largest file that it may write."""


def leave_network() -> bool:
    """Move this process into a network of its own, in which no interface is up.

    Returns False where neither privileges nor unprivileged user namespaces allow that; then only
    the other limits hold.
    """
    return any(_UNSHARE(flags) == 0 for flags in (_NEW_NETWORK, _NEW_USERS | _NEW_NETWORK))


def confine(limits: Limits, *, parent: int) -> None:
    """Set ``limits`` on this process for good, and let the process end with its ``parent``.

    Raises:
        ProcessLookupError: the parent has ended already, so the kernel would send no signal.
        OSError: a limit could not be set; then the process must not read untrusted files.
    """
    for option, value in ((_END_WITH_PARENT, signal.SIGKILL), (_NO_NEW_PRIVILEGES, 1)):
        if _PRCTL(option, int(value), 0, 0, 0):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno() or errno.EPERM))
    if os.getppid() != parent:
        raise ProcessLookupError
    # Some systems do not allow this, and it only decides which process ends first.
    with suppress(OSError):
        score = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
        os.write(score, _FIRST_VICTIM)
        os.close(score)
    for kind, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, limits.cpu_s),
        (resource.RLIMIT_FSIZE, limits.written_bytes),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_AS, limits.memory_bytes),
    ):
        hard = resource.getrlimit(kind)[1]
        limit = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (limit, limit))
