"""What every adapter name means now, read from memory, without I/O and locks.

There is one immutable entry for each name; ``catalog`` replaces it as a whole. A name that was
removed has none. Beside the entries are the refusals: content that was refused before it became a
revision. They are kept in memory only.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cachetools import TTLCache

from veneer_adapters.catalog.alias import Alias
from veneer_adapters.catalog.entry import Entry
from veneer_adapters.catalog.revision import Adapter, Revision, Source
from veneer_adapters.catalog.splitting import Caller, choose_target
from veneer_adapters.errors import AdapterError, AdapterFailed, AdapterNotFound
from veneer_adapters.lifecycle import State
from veneer_adapters.names import LIVE, Selector, close_matches


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the newest content of a name was refused."""

    error: AdapterError
    source: Source
    at: int


class Refusals:
    """What was refused, by name, so that whoever offered it can see why.

    A refusal of a watched folder stays as long as the folder. Whoever may add adapters by request
    can make up names without end, so what they offered is forgotten after ``KEPT_S``, and beyond
    ``MOST_ASKED`` the oldest first.
    """

    KEPT_S = 3600.0
    MOST_ASKED = 1000

    def __init__(self, clock: Callable[[], float]) -> None:
        self._of_folders: dict[str, Refusal] = {}
        self._asked: TTLCache[str, Refusal] = TTLCache(self.MOST_ASKED, self.KEPT_S, clock)

    def add(self, name: str, refusal: Refusal) -> None:
        """Keep ``refusal``; it takes the place of an earlier one of the same name."""
        self.pop(name)
        kept = self._of_folders if refusal.source.kind == "folder" else self._asked
        kept[name] = refusal

    def get(self, name: str) -> Refusal | None:
        """Return why the newest content of ``name`` was refused, or None."""
        return self._of_folders.get(name) or self._asked.get(name)

    def pop(self, name: str) -> Refusal | None:
        """Forget the refusal of ``name`` and return it, or None if there is none."""
        return self._of_folders.pop(name, None) or self._asked.pop(name, None)

    def every(self) -> Mapping[str, Refusal]:
        """Return all refusals, by name."""
        return self._of_folders | dict(self._asked)


class Snapshot:
    """Names, their revisions, and which revision answers. For one event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._entries: dict[str, Entry] = {}
        self._refusals = Refusals(clock)

    def resolve(self, selector: Selector, caller: Caller | None = None) -> Revision:
        """Return the revision that answers to ``selector`` now; a split alias draws a target.

        Raises:
            AdapterNotFound: there is no such adapter, alias or revision; it has the close matches.
            AdapterFailed: the adapter is known, but the selected revision cannot serve.
        """
        entry = self._entries.get(selector.adapter)
        if entry is None or not entry.present:
            raise self._absent(selector.adapter, str(selector))
        revision = _choose(entry, selector, caller)
        if revision is None:
            if selector.alias == LIVE:
                raise AdapterFailed(entry.name, "absent", "none of its revisions is live yet.")
            raise AdapterNotFound(str(selector))
        if revision.state is State.FAILED:
            why = revision.reason or "", revision.detail or ""
            raise AdapterFailed(entry.name, *why, revision=revision.number)
        return revision

    def get(self, name: str) -> Adapter:
        """Return the adapter called ``name``, whatever its state; raises AdapterNotFound."""
        found = self._adapter(name)
        if found is None:
            raise self.not_found(name, name)
        return found

    def not_found(
        self, name: str, asked: str, sees: Callable[[str], bool] = lambda _name: True
    ) -> AdapterNotFound:
        """Return the error for ``asked``, which names the adapter ``name`` that does not exist.

        It has those close matches that the client ``sees``.
        """
        serving = (e.name for e in self._entries.values() if e.present and LIVE in e.aliases)
        return AdapterNotFound(asked, close_matches(name, filter(sees, serving)))

    def knows(self, name: str) -> bool:
        """Return whether there is an adapter called ``name``; a failed one counts."""
        return self._is_present(name) or self._refusals.get(name) is not None

    def adapters(self) -> list[Adapter]:
        """Return every adapter, failed ones too, in the order of their names."""
        names = {n for n, e in self._entries.items() if e.present} | self._refusals.every().keys()
        return [found for name in sorted(names) if (found := self._adapter(name))]

    def revisions(self, name: str) -> tuple[Revision, ...]:
        """Return every revision of ``name``, failed ones too, in the order of their numbers.

        Raises:
            AdapterNotFound: there is no such adapter.
            AdapterFailed: no content of ``name`` was ever accepted.
        """
        return self._entry(name).revisions

    def alias(self, name: str, alias: str) -> Alias:
        """Return what ``alias`` of ``name`` means now; raises what ``revisions`` raises."""
        found = self._entry(name).aliases.get(alias)
        if found is None:
            raise AdapterNotFound(f"{name}@{alias}")
        return found

    def namespace(self, name: str) -> dict[str, tuple[Revision, ...]]:
        """Return the revisions of each adapter in the namespace ``name``, by the adapter's name."""
        mine = f"{name}/"
        every = self._entries.values()
        return {e.name: tuple(e.revisions) for e in every if e.present and e.name.startswith(mine)}

    def digests(self) -> set[str]:
        """Return the digest of every revision that a request may still ask for."""
        # A copy, because the store calls this from other threads.
        present = (entry for entry in tuple(self._entries.values()) if entry.present)
        return {
            r.digest for entry in present for r in entry.revisions if r.state is not State.FAILED
        }

    def waiting(self) -> list[Revision]:
        """Return the revisions for which an alias waits until they are proved."""
        present = (entry for entry in self._entries.values() if entry.present)
        return [r for entry in present for r in entry.revisions if r.becomes]

    def current(self, revision: Revision) -> Revision:
        """Return ``revision`` as it is now; as it was given, when its adapter was removed."""
        entry = self._entries.get(revision.adapter)
        return (entry and entry.by_number(revision.number)) or revision

    def in_folders(self) -> dict[str, Source]:
        """Return, by name, the watched folder of every adapter that came from one."""
        kept = {n: e.source for n, e in self._entries.items() if e.present or e.offered}
        refused = {n: r.source for n, r in self._refusals.every().items()}
        return {n: s for n, s in (kept | refused).items() if s.kind == "folder"}

    def _entry(self, name: str) -> Entry:
        entry = self._entries.get(name)
        if entry is None or not entry.present:
            raise self._absent(name, name)
        return entry

    def _is_present(self, name: str) -> bool:
        entry = self._entries.get(name)
        return entry is not None and entry.present

    def _absent(self, name: str, asked: str) -> AdapterNotFound | AdapterFailed:
        refusal = self._refusals.get(name)
        if refusal is not None:
            return AdapterFailed(name, refusal.error.reason, str(refusal.error))
        return self.not_found(name, asked)

    def _adapter(self, name: str) -> Adapter | None:
        entry, refusal = self._entries.get(name), self._refusals.get(name)
        if entry is not None and entry.present:
            return _to_adapter(entry, refusal)
        if refusal is None:
            return None
        reason, detail = refusal.error.reason, str(refusal.error)
        return Adapter(name, State.FAILED, None, refusal.source, refusal.at, reason, detail)


def _to_adapter(entry: Entry, refusal: Refusal | None) -> Adapter:
    live = entry.live
    newest = entry.revisions[-1]
    reason = newest.reason
    detail = newest.detail
    if refusal is not None:
        reason, detail = refusal.error.reason, str(refusal.error)
    return Adapter(
        name=entry.name,
        state=(live or newest).state,
        live=live,
        source=entry.source,
        created=entry.created,
        reason=reason,
        detail=detail,
        pinned=entry.pinned,
        aliases=entry.aliases,
        revisions=len(entry.revisions),
    )


def _choose(entry: Entry, selector: Selector, caller: Caller | None) -> Revision | None:
    if selector.alias is not None:
        alias = entry.aliases.get(selector.alias)
        if alias is None:
            return None
        return entry.revisions[choose_target(entry.name, alias, caller) - 1]
    if selector.number is not None:
        return entry.by_number(selector.number)
    return entry.by_digest(selector.digest or "")
