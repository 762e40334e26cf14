"""Which names a pattern of an allow-list takes.

    base        the base model
    pirate      the adapter of this name
    *           every adapter without a namespace
    acme/*      every adapter in the namespace acme
    */*         every adapter in any namespace

A star takes any characters except the slash.
"""

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

BASE = "base"
_PATTERN = re.compile(r"[A-Za-z0-9._*-]{1,63}(/[A-Za-z0-9._*-]{1,63})?")


def is_pattern(text: str) -> bool:
    """Return whether ``text`` can stand in an allow-list."""
    return _PATTERN.fullmatch(text) is not None


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Return whether one of ``patterns`` takes the adapter called ``name``."""
    return any(_takes(pattern, name) for pattern in patterns)


def _takes(pattern: str, name: str) -> bool:
    wanted, given = pattern.split("/"), name.split("/")
    return len(wanted) == len(given) and all(map(fnmatchcase, given, wanted))
