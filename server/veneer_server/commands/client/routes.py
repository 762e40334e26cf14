"""The routes of adapters and keys, one method each."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from veneer_adapters.artifact.files import FILES
from veneer_server.commands.client.connection import Connection
from veneer_server.commands.client.documents import (
    Adapter,
    Alias,
    ApiKey,
    AuditEntry,
    Page,
    Revision,
    UsageBucket,
    UsagePage,
)
from veneer_server.commands.client.failures import NotVeneer
from veneer_server.commands.client.targets import to_name

_ROOT, _KEYS = "/v1/adapters", "/v1/keys"
_USAGE, _AUDIT = "/v1/usage", "/v1/audit"
_PAGE = 1000
"""The most items that the server returns in one page."""

Row = TypeVar("Row", bound=BaseModel)


@dataclass(frozen=True)
class Listing(Generic[Row]):
    """The rows of a listing, in the server's order."""

    rows: tuple[Row, ...]
    complete: bool
    """False when the listing has more rows than the caller's limit."""


class _Api:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def _list(self, path: str, of: type[Row], at_most: int | None) -> Listing[Row]:
        rows: list[Row] = []
        params: dict[str, str | int] = {}
        while True:
            params["limit"] = _PAGE if at_most is None else min(_PAGE, at_most - len(rows))
            page = self._to(Page, self._connection.get(path, params))
            rows += [self._to(of, each) for each in page.data]
            if not page.has_more or len(rows) == at_most:
                return Listing(tuple(rows[:at_most]), complete=not page.has_more)
            if not page.data or page.next is None or page.next == params.get("after"):
                raise NotVeneer(self._connection.url, "its listing has no next page, but should")
            params["after"] = page.next

    def _to(self, of: type[Row], document: Any) -> Row:
        try:
            return of.model_validate(document)
        except ValidationError as error:
            where = ".".join(str(part) for part in error.errors()[0]["loc"]) or "everything"
            why = f"it sent a wrong `{where}` in the {of.__name__.lower()}"
            raise NotVeneer(self._connection.url, why) from error


class AdaptersApi(_Api):
    """The adapters of a server. Every method raises ``ClientError`` if it fails."""

    def adapters(self, at_most: int | None = None) -> Listing[Adapter]:
        """Return all adapters, or the first ``at_most``."""
        return self._list(_ROOT, Adapter, at_most)

    def adapter(self, name: str) -> Adapter:
        """Return one adapter."""
        return self._to(Adapter, self._connection.get(_path(name)))

    def add(
        self, name: str, source: str, *, pinned: bool = False, allow_no_effect: bool = False
    ) -> None:
        """Make the server begin to add a new adapter; it goes on after this method returns."""
        body = {
            "name": to_name(name),
            "source": source,
            "pinned": pinned,
            "allow_no_effect": allow_no_effect,
            "wait": False,
        }
        self._connection.post(_ROOT, body)

    def publish(
        self, name: str, source: str, *, alias: str | None, allow_no_effect: bool = False
    ) -> None:
        """Make the server begin to publish a revision; ``alias`` moves once it is proved."""
        body = {
            "source": source,
            "alias": alias,
            "allow_no_effect": allow_no_effect,
            "wait": False,
        }
        self._connection.post(_path(name, "revisions"), body)

    def upload(
        self, name: str, folder: Path, *, alias: str, allow_no_effect: bool = False
    ) -> Revision:
        """Send the two files in ``folder``; return the revision that they became, proved."""
        fields = {"alias": alias, "allow_no_effect": str(allow_no_effect).lower()}
        files = [folder / each for each in FILES]
        answer = self._connection.upload(_path(name, "upload"), files, fields)
        return self._to(Revision, answer)

    def revisions(self, name: str, at_most: int | None = None) -> Listing[Revision]:
        """Return all revisions of an adapter, or the first ``at_most``, the newest first."""
        return self._list(_path(name, "revisions"), Revision, at_most)

    def revision(self, name: str, number: int) -> Revision:
        """Return one revision of an adapter."""
        found = [each for each in self.revisions(name).rows if each.number == number]
        if not found:
            raise NotVeneer(self._connection.url, f"it does not list revision {number} of {name}")
        return found[0]

    def move(
        self, name: str, alias: str, body: Mapping[str, Any], if_version: int | None = None
    ) -> Alias:
        """Move an alias; with ``if_version`` only if it still has this version."""
        path = _path(name, "aliases", alias)
        return self._to(Alias, self._connection.put(path, body, if_version))

    def delete_alias(self, name: str, alias: str) -> None:
        """Remove an alias; its revisions stay."""
        self._connection.delete(_path(name, "aliases", alias))

    def rollback(self, name: str, alias: str) -> Alias:
        """Move an alias back to what it pointed to before."""
        path = _path(name, "aliases", alias, "rollback")
        return self._to(Alias, self._connection.post(path))

    def history(self, name: str, alias: str, at_most: int | None = None) -> Listing[Alias]:
        """Return the alias after each of its moves, the newest first."""
        return self._list(_path(name, "aliases", alias, "history"), Alias, at_most)

    def pin(self, name: str, pinned: bool) -> None:
        """Pin an adapter to its device slot, or unpin it."""
        self._connection.patch(_path(name), {"pinned": pinned})

    def load(self, name: str) -> None:
        """Load an adapter; return when it is in a device slot."""
        self._connection.post(_path(name, "load"))

    def unload(self, name: str) -> None:
        """Take an adapter out of its slots; its running requests finish."""
        self._connection.post(_path(name, "unload"))

    def delete(self, name: str) -> None:
        """Remove an adapter with all its revisions and aliases."""
        self._connection.delete(_path(name))


class KeysApi(_Api):
    """The keys of a server. Every method raises ``ClientError`` if it fails."""

    def keys(self, at_most: int | None = None) -> Listing[ApiKey]:
        """Return all keys, or the first ``at_most``, the newest first."""
        return self._list(_KEYS, ApiKey, at_most)

    def create(self, body: Mapping[str, Any]) -> ApiKey:
        """Make a key; the answer is the only place where its text is."""
        return self._to(ApiKey, self._connection.post(_KEYS, body, repeat=False))

    def revoke(self, key_id: str) -> None:
        """Make a key useless."""
        self._connection.delete(f"{_KEYS}/{quote(key_id, safe='')}")


class AuditApi(_Api):
    """The audit log of a server. Every method raises ``ClientError`` if it fails."""

    def entries(self, at_most: int | None = None) -> Listing[AuditEntry]:
        """Return all entries, or the first ``at_most``, the oldest first."""
        return self._list(_AUDIT, AuditEntry, at_most)


class UsageApi(_Api):
    """What was used. Every method raises ``ClientError`` if it fails."""

    def usage(self, asked: Mapping[str, Any]) -> list[UsageBucket]:
        """Return every bucket that ``asked`` means: the parameters of the route."""
        found: list[UsageBucket] = []
        params = dict(asked)
        while True:
            page = self._to(UsagePage, self._connection.get(_USAGE, params))
            found += page.data
            if page.next_page is None or page.next_page == params.get("page"):
                return found
            params["page"] = page.next_page


def _path(name: str, *parts: str) -> str:
    return "/".join((_ROOT, *(quote(part, safe="") for part in (to_name(name), *parts))))
