"""How long a thread may work before another one that waits gets its turn."""

import sys

_TURN_S = 0.0005
"""Python's own turns are ten times as long. For each token the event loop lets the interpreter go
some times, and then waits for the turn of the thread that works on a large body to end."""


def shorten_turns() -> None:
    """Let the event loop wait less for threads that run Python at the same time."""
    sys.setswitchinterval(_TURN_S)
