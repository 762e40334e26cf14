"""What the head of an HTTP request must be, besides what the parser asks for.

Two programs that read one request must find the same host, the same key and the same path in it.
Where they could differ, the request is refused.
"""

import re
from collections.abc import Callable, Sequence

from veneer_server.api.errors import HeadTooLarge, MalformedRequest
from veneer_server.settings import LimitSettings

Headers = Sequence[tuple[bytes, bytes]]

_VERSIONS = ("1.0", "1.1")
_ONCE = {b"host": "Host", b"authorization": "Authorization", b"x-api-key": "x-api-key"}
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]*)(?::[0-9]{0,5})?")
_ABSOLUTE = re.compile(rb"https?://([^/?#]+)(.*)", re.IGNORECASE | re.DOTALL)


def to_path(version: str, target: bytes, headers: Headers) -> bytes:
    """Return the path and query that a request with this head asks for.

    ``version`` is as in ``1.1``; the names of ``headers`` are in lower case.

    Raises:
        MalformedRequest: the head is not that of an HTTP/1 request, or is ambiguous.
    """
    if version not in _VERSIONS:
        raise MalformedRequest(f"This server speaks HTTP/1.0 and HTTP/1.1, not HTTP/{version}.")
    for name, shown in _ONCE.items():
        if sum(found == name for found, _ in headers) > 1:
            raise MalformedRequest(f"The request has more than one {shown} header.")
    _check_coding(version, headers)
    path = _path(target, _host(version, headers))
    if not path.startswith(b"/"):
        raise MalformedRequest("The target of a request must be a path, as in /v1/models.")
    return path


def _check_coding(version: str, headers: Headers) -> None:
    codings = [value.lower() for name, value in headers if name == b"transfer-encoding"]
    if codings and (codings != [b"chunked"] or version == "1.0"):
        raise MalformedRequest("The only Transfer-Encoding is chunked, and only in HTTP/1.1.")


def _host(version: str, headers: Headers) -> bytes | None:
    host = next((value for name, value in headers if name == b"host"), None)
    if host is None and version == "1.1":
        raise MalformedRequest("An HTTP/1.1 request must have a Host header.")
    if host is not None and not _HOST.fullmatch(host):
        raise MalformedRequest("The Host header must be a name or an address, and maybe a port.")
    return host


def _path(target: bytes, host: bytes | None) -> bytes:
    """Return ``target`` without scheme and host, which clients of a forward proxy write there."""
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None:
        return target
    authority, path = absolute.groups()
    if not _HOST.fullmatch(authority) or (host is not None and authority.lower() != host.lower()):
        raise MalformedRequest("The host in the target must be that of the Host header.")
    return path if path.startswith(b"/") else b"/" + path


class Meter:
    """Measures one request's head, and the trailer that may follow its body."""

    def __init__(self, limits: Callable[[], LimitSettings]) -> None:
        self._limits = limits
        self.restart()

    def restart(self) -> None:
        """Begin with another request."""
        self._size = self._fields = self._held = 0

    def part(self, size: int, *, fields: int = 0) -> None:
        """Count what the parser reported: ``size`` bytes, and so many header fields.

        Raises:
            HeadTooLarge: with this the head is over a limit.
        """
        self._held = 0
        self._size += size
        self._fields += fields
        limits = self._limits()
        if self._size > limits.max_header_bytes:
            raise _too_many_bytes(limits)
        if self._fields > limits.max_headers:
            raise HeadTooLarge(f"The request has more than {limits.max_headers} headers.")

    def fed(self, size: int) -> None:
        """Count bytes that the parser is about to take; it keeps what it does not report."""
        self._held += size

    def check(self) -> None:
        """Return if the parser keeps no more than a head may have.

        Raises:
            HeadTooLarge: an unfinished header is over the limit by itself.
        """
        if self._held > self._limits().max_header_bytes:
            raise _too_many_bytes(self._limits())


def _too_many_bytes(limits: LimitSettings) -> HeadTooLarge:
    return HeadTooLarge(
        f"The request line and headers are larger than {limits.max_header_bytes} bytes."
    )
