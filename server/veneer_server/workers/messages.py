"""What a worker and the server tell each other about requests, as bytes. No clock, no socket.

Each message has a kind, the number of a request, and a body. The worker chooses the numbers; 0 is
the worker itself.
"""

import struct
from collections.abc import Iterator, Sequence
from enum import IntEnum, unique
from typing import Any, NamedTuple

import orjson

from veneer_server.api import errors

_HEAD = struct.Struct("<IBQ")
"""The length of the body, the kind, the number."""

_TEXTS = ("type", "http_version", "method", "scheme", "path", "root_path")
_BYTES = ("raw_path", "query_string")


@unique
class Kind(IntEnum):
    """What a message says."""

    HEAD = 1
    """Worker: a request has begun; the body is its scope."""
    BODY = 2
    """Worker: a part of the request's body; more follows."""
    LAST_BODY = 3
    GONE = 4
    """Worker: the client has left; the body is the error code that the worker knows, or empty."""
    FULL = 5
    """Worker: the client does not take what was written."""
    FREE = 6
    READY = 7
    """Worker: connections are accepted now."""
    PONG = 8
    READ = 16
    """Server: the next part of the body may come."""
    START = 17
    """Server: the answer begins; the body is its status and headers."""
    PART = 18
    """Server: a part of the answer's body; more follows."""
    LAST_PART = 19
    BROKEN = 20
    """Server: nothing more comes of an answer that is not complete."""
    SETTINGS = 21
    DRAIN = 22
    """Server: accept nothing, end what runs, and leave; a second one: leave now."""
    PING = 23


class Message(NamedTuple):
    """One message."""

    kind: Kind
    number: int
    body: bytes


def pack(kind: Kind, number: int, body: bytes = b"") -> bytes:
    """Return a message as bytes."""
    return _HEAD.pack(len(body), kind, number) + body


class Splitter:
    """Finds the messages in bytes that come in pieces."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, piece: bytes) -> Iterator[Message]:
        """Yield each message that is complete with ``piece``; take all before the next piece."""
        self._rest += piece
        at = 0
        while len(self._rest) - at >= _HEAD.size:
            length, kind, number = _HEAD.unpack_from(self._rest, at)
            end = at + _HEAD.size + length
            if end > len(self._rest):
                break
            yield Message(Kind(kind), number, bytes(self._rest[at + _HEAD.size : end]))
            at = end
        del self._rest[:at]


def pack_scope(scope: Any) -> bytes:
    """Return what the server must know of an ASGI scope, the fault of a refused one too."""
    fault = scope.get("state", {}).get("refusal")
    return orjson.dumps(
        {
            **{name: scope.get(name, "") for name in _TEXTS},
            **{name: scope[name].decode("latin-1") for name in _BYTES},
            "headers": _to_texts(scope["headers"]),
            "client": scope.get("client"),
            "server": scope.get("server"),
            "fault": fault and [type(fault).__name__, str(fault)],
        }
    )


def to_scope(body: bytes) -> dict[str, Any]:
    """Return the ASGI scope that was packed."""
    told = orjson.loads(body)
    name, text = told.pop("fault") or (None, "")
    return {
        **told,
        **{name: told[name].encode("latin-1") for name in _BYTES},
        "headers": _to_bytes(told["headers"]),
        "client": told["client"] and tuple(told["client"]),
        "server": told["server"] and tuple(told["server"]),
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "state": {"refusal": _fault(name, text)} if name else {},
    }


def _fault(name: str, text: str) -> errors.ApiFault:
    kinds = {kind.__name__: kind for kind in errors.ApiFault.__subclasses__()}
    return kinds[name](text)


def comes_unasked(scope: Any) -> bool:
    """Return whether the body's first part comes before the server asks for it.

    A client that waits to be asked must not be asked for a body that nobody wants.
    """
    return all(name != b"expect" for name, _ in scope["headers"])


def pack_start(status: int, headers: Sequence[tuple[bytes, bytes]], *, streams: bool) -> bytes:
    """Return the beginning of an answer; with ``streams`` its parts may be written at once."""
    return orjson.dumps([status, _to_texts(headers), streams])


def to_start(body: bytes) -> tuple[dict[str, Any], bool]:
    """Return the ASGI message that begins the answer that was packed, and whether it streams."""
    status, headers, streams = orjson.loads(body)
    return {
        "type": "http.response.start",
        "status": status,
        "headers": _to_bytes(headers),
    }, streams


def _to_texts(headers: Sequence[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]


def _to_bytes(headers: Sequence[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
