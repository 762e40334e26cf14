"""Where an engine has its own folder: vLLM puts sockets there, and their paths must be short."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

LONGEST = 107
"""Bytes in the path of a socket. Source: unix(7), ``sun_path`` without the zero at its end."""
_RANDOM = 8
"""Characters that ``tempfile.mkdtemp`` adds to a prefix."""
_SOCKET = 36
"""Characters in the names of vLLM's sockets, which are UUIDs."""
_SHORT = "/tmp"  # noqa: S108 - the folder made in it is for its owner only


def choose_place(places: Sequence[str], prefix: str) -> str:
    """Return the first of ``places`` in which a socket of an engine has a path that is allowed.

    The folder of the engine begins with ``prefix``. When no place is short enough, it is the first.
    """
    more = 1 + len(prefix) + _RANDOM + 1 + _SOCKET
    short = (place for place in places if len(os.fsencode(place)) + more <= LONGEST)
    return next(short, places[0])


def make_folder(prefix: str) -> Path:
    """Make a folder for one engine, which only its owner can read; raise OSError.

    It is in ``TMPDIR``, or in /tmp where that path is too long for sockets.
    """
    place = choose_place((tempfile.gettempdir(), _SHORT), prefix)
    return Path(tempfile.mkdtemp(prefix=prefix, dir=place))
