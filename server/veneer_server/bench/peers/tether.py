"""``python -m veneer_server.bench.peers.tether COMMAND...``: ties a command to its parent.

When the bench ends, even by ``kill -9``, the kernel sends SIGTERM to the command.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(command: list[str]) -> None:
    """Become ``command``; this function does not return."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    os.execvp(command[0], command)  # noqa: S606 - a command of this package


if __name__ == "__main__":
    main(sys.argv[1:])
