"""``python -m veneer_server.bench.peers.tether COMMAND...``: a command that ends with its parent.

However the bench ends, also by ``kill -9``, the kernel then sends SIGTERM to what it started.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(command: list[str]) -> None:
    """Become ``command``. Does not return."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    os.execvp(command[0], command)  # noqa: S606 - a command of this package


if __name__ == "__main__":
    main(sys.argv[1:])
