"""A process of the engine that ends with the one that started it."""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with(parent_pid: int) -> None:
    """Let the kernel end this process together with its parent, whose id is ``parent_pid``.

    If that is gone already, this process ends now. Only Linux can do it; elsewhere nothing happens.
    """
    if sys.platform != "linux":
        return
    # The kernel watches the *thread* that started this process, not the whole parent. So the
    # thread that starts the engine must live as long as the engine.
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent_pid:
        # The parent died before the call above took effect, so no signal will come.
        os.kill(os.getpid(), signal.SIGKILL)
