"""Adapters in object stores: ``s3://bucket/prefix``, ``gs://...``, ``az://...``.

Endpoint, region and credentials come from the environment (AWS_*, GOOGLE_*, AZURE_*), as obstore
reads it. The fetcher first looks at both files. If a file differs when it is read afterwards, the
whole attempt fails, so two uploads are never mixed.
"""

from collections.abc import AsyncGenerator, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import (
    BaseError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import ObjectStore, from_url

from veneer_adapters.artifact.files import FILES
from veneer_adapters.errors import MissingFile, SourceNotAllowed, SourceUnavailable, quoted
from veneer_adapters.sources.fetching import Fetched, OnBytes, TryAgain
from veneer_adapters.sources.locations import Location, parse_location
from veneer_adapters.sources.writing import receive

if TYPE_CHECKING:
    from obstore import GetOptions  # exists for type checkers only

SCHEMES = frozenset({"s3", "gs", "az"})
_CHUNK_BYTES = 1 << 20
_VERSION = "version="
_CHANGED = "The files in the bucket changed while they were being read."


@dataclass(frozen=True, slots=True)
class _Seen:
    """One object as it was at the first look."""

    path: str
    size: int
    etag: str | None
    version: str | None


class ObjectStoreFetcher:
    """Fetches from ``buckets``, each of them ``scheme://bucket`` or ``scheme://bucket/prefix``."""

    schemes = SCHEMES

    def __init__(
        self, buckets: Collection[str], *, timeout_s: float = 60.0, part_bytes: int = 16 << 20
    ) -> None:
        """Read ``part_bytes`` with each request, and retry one for at most ``timeout_s``."""
        self._buckets = tuple(parse_location(bucket) for bucket in buckets)
        self._timeout_s = timeout_s
        self._part_bytes = part_bytes
        self._stores: dict[tuple[str, str], ObjectStore] = {}

    def whom(self, location: str) -> str:
        """Return the bucket."""
        parsed = parse_location(location)
        return f"{parsed.scheme}://{parsed.place}"

    async def fetch(self, location: str, into: Path, on_bytes: OnBytes) -> Fetched:
        """Fetch both files below the prefix ``location``; see ``Fetcher``.

        If the location has a pin, as ``Fetched.pinned`` does, other content counts as missing.
        """
        parsed = parse_location(location)
        if not any(parsed.is_inside(bucket) for bucket in self._buckets):
            raise SourceNotAllowed(
                f"Adapters may not come from the bucket {quoted(parsed.place)}, or not from this"
                " part of it."
            )
        with _translated():
            store = self._store(parsed)
            versions = _versions(parsed.pin)
            seen = [
                await _look(store, "/".join((*parsed.path, name)), version)
                for name, version in zip(FILES, versions, strict=True)
            ]
            pin = _pin(seen)
            if parsed.pin not in ("", pin):
                raise MissingFile("The bucket has other files there now.")
            await self._read_all(store, seen, into, on_bytes)
        return Fetched(into, str(replace(parsed, pin=pin)))

    def _store(self, location: Location) -> ObjectStore:
        key = (location.scheme, location.place)
        if key not in self._stores:
            self._stores[key] = _open("://".join(key), timedelta(seconds=self._timeout_s))
        return self._stores[key]

    async def _read_all(
        self, store: ObjectStore, files: Sequence[_Seen], into: Path, on_bytes: OnBytes
    ) -> None:
        total, done = sum(file.size for file in files), 0
        on_bytes(done, total)

        def seen(chunk: bytes) -> None:
            nonlocal done
            done += len(chunk)
            on_bytes(done, total)

        for name, file in zip(FILES, files, strict=True):
            await receive(_parts(store, file, self._part_bytes), into / name, seen)


def _open(bucket: str, limit: timedelta) -> ObjectStore:
    try:
        # No client_options: any of them would override what the environment says of the client.
        # Retries are the task of ``Fetching``; this one is for a connection that just closed.
        return from_url(bucket, retry_config={"max_retries": 1, "retry_timeout": limit})
    except (BaseError, ValueError) as error:
        raise SourceUnavailable(
            f"The server is not set up for the bucket {quoted(bucket)}."
        ) from error


async def _look(store: ObjectStore, path: str, version: str | None) -> _Seen:
    wanted: GetOptions = {"head": True}
    if version is not None:
        wanted["version"] = version
    got = await obstore.get_async(store, path, options=wanted)
    return _Seen(path, got.meta["size"], got.meta["e_tag"], got.meta["version"])


async def _parts(store: ObjectStore, file: _Seen, part_bytes: int) -> AsyncGenerator[bytes]:
    # In parts, because the client of the store limits the time of one request of any length.
    for begin in range(0, file.size, part_bytes):
        wanted: GetOptions = {"range": (begin, min(begin + part_bytes, file.size))}
        if file.etag is not None:
            wanted["if_match"] = file.etag
        if file.version is not None:
            wanted["version"] = file.version
        got = await obstore.get_async(store, file.path, options=wanted)
        if (got.meta["size"], got.meta["e_tag"]) != (file.size, file.etag):
            raise TryAgain(_CHANGED)
        async for chunk in got.stream(min_chunk_size=_CHUNK_BYTES):
            yield bytes(chunk)


def _pin(seen: Sequence[_Seen]) -> str:
    # Versions where the bucket keeps them; else etags, which at least show that content changed.
    for kind, marks in (
        (_VERSION, [file.version for file in seen]),
        ("etag=", [file.etag for file in seen]),
    ):
        if all(marks):
            return kind + ",".join((mark or "").replace('"', "") for mark in marks)
    return ""


def _versions(pin: str) -> Sequence[str | None]:
    marks = pin.removeprefix(_VERSION).split(",")
    return marks if pin.startswith(_VERSION) and len(marks) == len(FILES) else [None] * len(FILES)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise MissingFile("The bucket has no such adapter.") from error
    except (PermissionDeniedError, UnauthenticatedError) as error:
        raise SourceUnavailable("The bucket refuses access.") from error
    except PreconditionError as error:
        raise TryAgain(_CHANGED) from error
    except BaseError as error:
        raise TryAgain("The bucket cannot be read.") from error
