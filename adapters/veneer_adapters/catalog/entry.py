"""One name in the catalog: its history, and how each event changes it. No I/O, no clock.

Rule 1: numbers are places in ``revisions``, counted from 1; no revision is ever taken out.
Rule 2: publishing and moving an alias need a revision that is READY. There are two exceptions, and
        in both the first lease proves the revision: a name without aliases serves the content of
        its watched folder at once, for there is nothing it could displace; and a rollback may lead
        to a revision that is still STAGED.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from veneer_adapters.artifact.manifest import Manifest
from veneer_adapters.catalog.alias import Alias, Guard, Mover, Sticky, Target, check_targets
from veneer_adapters.catalog.proof import Effect
from veneer_adapters.catalog.revision import Revision, Source
from veneer_adapters.errors import (
    AdapterRejected,
    AliasMoved,
    ContentLost,
    NothingToRollBack,
    TargetsImpossible,
    quoted,
)
from veneer_adapters.lifecycle import Event, State, advance
from veneer_adapters.names import LIVE


@dataclass(frozen=True, slots=True)
class Arrival:
    """Verified content that will become a revision of ``name``."""

    name: str
    digest: str
    path: Path
    manifest: Manifest
    source: Source
    becomes: str | None = LIVE
    """The alias that will point to it when it is proved; None: no alias moves."""
    allow_no_effect: bool = False
    pinned: bool = False
    training: Mapping[str, Any] | None = field(default=None, hash=False)
    """See ``Revision.training``; None leaves what is known of the same content."""


@dataclass(frozen=True, slots=True)
class Entry:
    """All that the catalog keeps about one name. Every change returns a new entry."""

    name: str
    source: Source
    created: int
    present: bool = False
    """Whether clients can find the name; its numbers outlive its removal."""
    pinned: bool = False
    offered: str | None = None
    """The digest that its watched folder had last. When the folder shows it again, that is no
    change, even if the name was removed by request."""
    revisions: tuple[Revision, ...] = ()
    aliases: Mapping[str, Alias] = field(default_factory=dict)

    @property
    def live(self) -> Revision | None:
        """The revision that most requests for the bare name get, whatever its state, or None."""
        alias = self.aliases.get(LIVE)
        return self.revisions[alias.main - 1] if alias else None

    def by_number(self, number: int) -> Revision | None:
        """Return the revision ``number``, if there ever was one."""
        return self.revisions[number - 1] if 1 <= number <= len(self.revisions) else None

    def by_digest(self, prefix: str) -> Revision | None:
        """Return the revision whose digest begins with ``prefix``, if there ever was one."""
        return next((r for r in self.revisions if r.digest.startswith(prefix)), None)

    def targeted(self) -> frozenset[Revision]:
        """Return every revision that an alias points to."""
        aliases = self.aliases.values()
        return frozenset(self.revisions[t.revision - 1] for a in aliases for t in a.targets)

    def added(self, arrival: Arrival, *, now: int) -> tuple["Entry", Revision]:
        """Return the entry with the content as a revision, and the revision.

        Known content keeps its number; other content gets the next one. The alias moves now only if
        the revision is READY, or if the name has no alias and its watched folder brings the
        content. Content that the watched folder had before changes nothing, unless its stored files
        were lost.
        """
        known = self.by_digest(arrival.digest)
        in_folder = arrival.source.kind == "folder"
        if known and in_folder and self._holds_already(arrival.digest, known):
            return self, known
        revision = _again(known, arrival) if known else self._new(arrival, now)
        entry = replace(
            self._with(revision, alone_becomes=revision.becomes),
            source=arrival.source,
            created=self.created if self.present else now,
            present=True,
            pinned=self.pinned or arrival.pinned,
            offered=arrival.digest if in_folder else self.offered,
        )
        if revision.becomes and revision.state is State.READY:
            entry = entry.moved(revision.becomes, (Target(revision.number),), now=now, by="publish")
            revision = replace(revision, becomes=None)
            entry = entry._with(revision)
        elif not entry.aliases and in_folder:
            first = Alias(LIVE, (Target(revision.number),), since=now)
            revision = replace(revision, becomes=None)
            entry = replace(entry._with(revision), aliases={LIVE: first})
        return entry, revision

    def proved(self, number: int, effect: Effect, *, now: int) -> "Entry":
        """Return the entry with the revision READY and the alias that waited for it moved."""
        old = self.revisions[number - 1]
        state = advance(old.state, Event.PROVED)
        entry = self._with(replace(old, state=state, effect=effect, becomes=None))
        if old.becomes is None or not self.present:
            return entry
        return entry.moved(old.becomes, (Target(number),), now=now, by="publish")

    def refused(self, number: int, error: AdapterRejected) -> "Entry":
        """Return the entry with the revision FAILED; no alias moves."""
        old = self.revisions[number - 1]
        if old.state is State.FAILED:
            return self
        state = advance(old.state, Event.REFUSED)
        failed = replace(old, state=state, reason=error.reason, detail=str(error), becomes=None)
        return self._with(failed)

    def given_up(self, number: int) -> "Entry":
        """Return the entry in which no alias waits for the revision any more."""
        return self._with(replace(self.revisions[number - 1], becomes=None))

    def described(self, number: int, training: Mapping[str, Any]) -> "Entry":
        """Return the entry whose revision ``number`` says how it was trained."""
        return self._with(replace(self.revisions[number - 1], training=training))

    def moved(
        self,
        alias: str,
        targets: tuple[Target, ...],
        *,
        now: int,
        by: Mover = "move",
        sticky: Sticky | None = None,
        guard: Guard | None = None,
        expected: int | None = None,
    ) -> "Entry":
        """Return the entry with ``alias`` pointing to ``targets``; make the alias if it is missing.

        Nothing changes when the alias already points there in the same way.

        Raises:
            TargetsImpossible: a revision does not exist or is not READY, or as ``check_targets``.
            AliasMoved: the alias does not have the version ``expected``.
        """
        self.require_version(alias, expected)
        check_targets(targets, guard)
        for target in targets:
            self._require_ready(target.revision)
        old = self.aliases.get(alias)
        if old is None:
            new = Alias(alias, targets, 1, sticky, guard, now, by)
        elif (old.targets, old.sticky, old.guard) == (targets, sticky, guard):
            return self
        else:
            new = old.moved(targets, now=now, by=by, sticky=sticky, guard=guard)
        return replace(self, aliases={**self.aliases, alias: new})

    def rolled_back(
        self,
        alias: str,
        *,
        now: int,
        by: Mover = "rollback",
        without: int | None = None,
        expected: int | None = None,
    ) -> "Entry":
        """Return the entry with ``alias`` pointing to what it pointed to before.

        Earlier targets are skipped when one of them has failed since, or is the revision
        ``without``.

        Raises:
            NothingToRollBack: there is no such alias, or it has no earlier targets that can serve.
            AliasMoved: the alias does not have the version ``expected``.
        """
        self.require_version(alias, expected)
        if alias not in self.aliases:
            raise NothingToRollBack(f"There is no alias {quoted(alias)} to roll back.")
        old = self.aliases[alias]
        back = old.rolled_back(now=now, by=by)
        while not all(self._can_serve(t.revision, without) for t in back.targets):
            back = replace(back.rolled_back(now=now, by=by), version=old.version + 1)
        return replace(self, aliases={**self.aliases, alias: back})

    def without_alias(self, alias: str, *, expected: int | None = None) -> "Entry":
        """Return the entry without ``alias``; raises AliasMoved as ``moved`` does."""
        self.require_version(alias, expected)
        return replace(self, aliases={k: v for k, v in self.aliases.items() if k != alias})

    def removed(self, *, offered: str | None = None) -> "Entry":
        """Return the entry without its name and aliases: it keeps its numbers and ``offered``."""
        gone = tuple(replace(revision, becomes=None) for revision in self.revisions)
        left = replace(self, present=False, pinned=False, offered=offered)
        return replace(left, aliases={}, revisions=gone)

    def require_version(self, alias: str, expected: int | None) -> None:
        """Return when ``alias`` has the version ``expected``.

        0 means that there must be no such alias; None means that any version will do.

        Raises:
            AliasMoved: the alias has another version.
        """
        found = self.aliases[alias].version if alias in self.aliases else 0
        if expected is not None and expected != found:
            raise AliasMoved(f"The alias {quoted(alias)} has version {found} now, not {expected}.")

    def _holds_already(self, digest: str, known: Revision) -> bool:
        return digest == self.offered and known.reason != ContentLost.reason

    def _new(self, arrival: Arrival, now: int) -> Revision:
        return Revision(
            adapter=self.name,
            number=len(self.revisions) + 1,
            digest=arrival.digest,
            path=arrival.path,
            manifest=arrival.manifest,
            created=now,
            source=arrival.source,
            allow_no_effect=arrival.allow_no_effect,
            becomes=arrival.becomes,
            training=arrival.training,
        )

    def _with(self, revision: Revision, *, alone_becomes: str | None = None) -> "Entry":
        # When two revisions wait for one alias, only the later one may get it.
        waiting = [
            replace(r, becomes=None) if alone_becomes and r.becomes == alone_becomes else r
            for r in self.revisions
        ]
        waiting[revision.number - 1 : revision.number] = [revision]
        return replace(self, revisions=tuple(waiting))

    def _can_serve(self, number: int, without: int | None) -> bool:
        return number != without and self.revisions[number - 1].state is not State.FAILED

    def _require_ready(self, number: int) -> None:
        revision = self.by_number(number)
        if revision is None:
            raise TargetsImpossible(f"{quoted(self.name)} has no revision {number}.")
        if revision.state is not State.READY:
            why = revision.detail or "the engine has not proved it yet."
            raise TargetsImpossible(f"Revision {number} of {quoted(self.name)} cannot serve: {why}")


def _again(known: Revision, arrival: Arrival) -> Revision:
    state = known.state
    if state is State.FAILED:
        state = advance(advance(state, Event.STAGE), Event.VERIFIED)
    return replace(
        known,
        source=arrival.source,
        state=state,
        reason=None,
        detail=None,
        becomes=arrival.becomes,
        allow_no_effect=arrival.allow_no_effect,
        training=arrival.training or known.training,
    )
