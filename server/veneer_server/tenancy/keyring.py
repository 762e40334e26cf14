"""Every key of the server, read from memory.

A change goes into the database first and into memory second. Other servers of the same database
see it within ``FOLLOW_S``.
"""

import asyncio
import time
from collections.abc import Callable

import structlog

from veneer_adapters.catalog.database import Database
from veneer_adapters.errors import AdapterUnavailable, quoted
from veneer_server.tenancy import rows
from veneer_server.tenancy.errors import KeyNotFound, NobodyLeft
from veneer_server.tenancy.key_texts import draw, parse
from veneer_server.tenancy.keys import Key
from veneer_server.tenancy.limits import UNLIMITED, Limits
from veneer_server.tenancy.scopes import Scope

logger = structlog.get_logger(__name__)

FOLLOW_S = 0.5
"""Seconds between two looks at what other servers changed."""


class Keyring:
    """The keys of one database. For one event loop."""

    def __init__(
        self,
        database: Database,
        *,
        pepper: str | None = None,
        has_other_admin: bool = False,
        now: Callable[[], float] = time.time,
    ) -> None:
        """``pepper`` is mixed into every digest: with another one, no key is known any more.

        ``has_other_admin`` says that somebody may make keys who needs none of these.
        """
        self._database = database
        self._pepper = pepper
        self._has_other_admin = has_other_admin
        self._now = now
        self._version = 0
        self._changing = asyncio.Lock()
        self._keys: dict[str, Key] = {}

    @property
    def is_empty(self) -> bool:
        """Whether no key was ever made; a revoked one counts."""
        return not self._keys

    def find(self, text: str) -> Key | None:
        """Return the key that ``text`` is, if it is good now. No I/O."""
        parsed = parse(text)
        # The digest is the index, so how long a look takes tells nothing about any secret.
        found = self._keys.get(parsed.digest(self._pepper)) if parsed else None
        return found if found is not None and found.opens(self._now()) else None

    def by_id(self, key_id: str) -> Key | None:
        """Return the key with this id, if it is good now. No I/O."""
        found = next((key for key in self._keys.values() if key.id == key_id), None)
        return found if found is not None and found.opens(self._now()) else None

    def every(self) -> list[Key]:
        """Return every key, expired and revoked ones too, the newest first."""
        return sorted(self._keys.values(), key=lambda key: (-key.created, key.id))

    async def create(
        self,
        *,
        tenant: str | None,
        name: str,
        scopes: tuple[Scope, ...],
        patterns: tuple[str, ...] | None,
        expires: int | None,
        limits: Limits = UNLIMITED,
    ) -> tuple[Key, str]:
        """Make a key; return it and its text, which nobody can find out later.

        Raises:
            NobodyLeft: it would be the first key, and it could not make further ones.
            AdapterUnavailable: the database cannot be written; no key was made.
        """
        drawn = draw()
        key = Key(
            drawn.id, tenant, name, scopes, patterns, int(self._now()), expires, limits=limits
        )
        if not self._is_governed_with(key):
            raise NobodyLeft(
                "The first key must have the scope keys:admin and not expire, or nobody could make"
                " another one. Make such a key first, or set server.api_key."
            )
        digest = drawn.digest(self._pepper)
        async with self._changing:
            async with self._database.writing() as (connection, version):
                await rows.insert(connection, key, digest, version)
            self._keys[digest] = key
        return key, str(drawn)

    async def revoke(self, key_id: str) -> Key:
        """Make a key useless from now on; a second call does nothing.

        Raises:
            KeyNotFound: there is no such key.
            NobodyLeft: without it nobody could make keys any more.
            AdapterUnavailable: the database cannot be written; the key is as good as before.
        """
        found = [(digest, key) for digest, key in self._keys.items() if key.id == key_id]
        if not found:
            raise KeyNotFound(f"There is no key with the id {quoted(key_id)}.")
        [(digest, key)] = found
        if self._administers(key) and not self._is_governed_without(key):
            raise NobodyLeft(
                "It is the last key with the scope keys:admin, and without it nobody could make"
                " keys. Make another one first, or set server.api_key."
            )
        now = int(self._now())
        async with self._changing:
            async with self._database.writing() as (connection, version):
                await rows.revoke(connection, key_id, now, version)
            self._keys[digest] = key.revoke(now)
        return self._keys[digest]

    async def refresh(self) -> None:
        """Bring in what other servers changed.

        Raises:
            AdapterUnavailable: the database cannot be read.
        """
        async with self._changing, self._database.reading() as connection:
            version = await rows.last_version(connection)
            if version != self._version:
                self._keys, self._version = await rows.every(connection), version

    async def follow(self) -> None:
        """Refresh again and again, until cancelled; a database that fails is asked again.

        Only wait where no other server can change keys: each look costs milliseconds.
        """
        if not self._database.shared:
            await asyncio.Event().wait()
        failing = False
        while True:
            await asyncio.sleep(FOLLOW_S)
            try:
                await self.refresh()
            except AdapterUnavailable as error:
                if not failing:
                    logger.warning("keys cannot be read", detail=str(error))
                failing = True
            else:
                failing = False

    def _is_governed_with(self, key: Key) -> bool:
        return self._administers(key) or self._is_governed_without(key)

    def _is_governed_without(self, key: Key) -> bool:
        others = (other for other in self._keys.values() if other.id != key.id)
        return self._has_other_admin or any(map(self._administers, others))

    def _administers(self, key: Key) -> bool:
        lasting = key.expires is None
        return Scope.KEYS_ADMIN in key.scopes and lasting and key.opens(self._now())
