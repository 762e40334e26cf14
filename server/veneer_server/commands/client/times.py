"""Lengths of time as people write them."""

import re

from veneer_server.commands.client.failures import BadArgument

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def to_seconds(text: str, option: str) -> int:
    """Return how long ``12h``, ``30d`` or ``90`` (seconds) is.

    Raises:
        BadArgument: it is written in another way; the message names the ``option``.
    """
    match = re.fullmatch(r"([1-9][0-9]{0,8})([smhdw]?)", text)
    if match is None:
        raise BadArgument(f"Write {option} as a number and s, m, h, d or w, for instance 30d.")
    return int(match[1]) * _UNITS_S[match[2] or "s"]
