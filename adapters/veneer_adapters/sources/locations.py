"""Locations of adapters outside this machine: ``scheme://place/path``, parsed strictly.

The alphabet is so small that no two parsers can disagree about what a location means: it has no
user name, escape, query, backslash or ``..``. No I/O. Rule: a message of this file never repeats a
malformed location, because it may hold a password.
"""

import re
from dataclasses import dataclass

from veneer_adapters.errors import SourceNotAllowed

_LONGEST = 1024
_FORM = re.compile(
    r"(?P<scheme>[a-z][a-z0-9]*)://"
    r"(?P<place>[A-Za-z0-9][A-Za-z0-9._-]*(?::[0-9]{1,5})?)"
    r"(?P<path>(?:/[A-Za-z0-9._~@+=,:-]+)*)/?"
    r"(?:#(?P<pin>[A-Za-z0-9._~+=,:/-]+))?"
)
_STEPS = frozenset({".", ".."})


@dataclass(frozen=True, slots=True)
class Location:
    """A well-formed location; the fetcher decides whether it is allowed."""

    scheme: str
    place: str
    """The host with its port, the organisation or the bucket."""
    path: tuple[str, ...] = ()
    pin: str = ""
    """The part behind ``#``: which content is meant, if the path does not say it."""

    def __str__(self) -> str:
        path = "".join(f"/{part}" for part in self.path)
        return f"{self.scheme}://{self.place}{path}{'#' if self.pin else ''}{self.pin}"

    def is_inside(self, other: "Location") -> bool:
        """Return whether this location is ``other`` or lies below it."""
        same_place = (self.scheme, self.place) == (other.scheme, other.place)
        return same_place and self.path[: len(other.path)] == other.path


def parse_location(text: str) -> Location:
    """Return what ``text`` means.

    Raises:
        SourceNotAllowed: it does not have the form of a location.
    """
    match = _FORM.fullmatch(text) if len(text) <= _LONGEST else None
    if match is None:
        raise _malformed()
    path = tuple(match["path"].split("/")[1:])
    if not _STEPS.isdisjoint(path):
        raise _malformed()
    return Location(match["scheme"], match["place"], path, match["pin"] or "")


def parse_host(text: str, *, default_port: int = 443) -> tuple[str, int]:
    """Return the host, in lower case, and the port of ``host`` or ``host:port``.

    Raises:
        SourceNotAllowed: ``text`` is neither.
    """
    location = parse_location(f"https://{text}")
    host, _, port = location.place.partition(":")
    if location.path or location.pin or int(port or default_port) not in range(1, 65536):
        raise _malformed()
    return host.lower(), int(port or default_port)


def _malformed() -> SourceNotAllowed:
    return SourceNotAllowed(
        "The source must have the form scheme://place/path, without a user name, escapes, a query"
        " or `..`."
    )
