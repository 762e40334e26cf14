"""The four things that can become of a member of a request, and how a table writes each.

A table says nothing of a member's type or bounds: ``bounds`` and the engine check those.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

Body = Mapping[str, Any]
Translate = Callable[[dict[str, Any]], dict[str, Any]]
"""Takes a body that has the member, and returns it without; changes nothing in place."""
Asks = Callable[[Any, Body], bool]
"""Whether a value, in its body, asks for what this server does not do."""


class Kind(StrEnum):
    """What becomes of a member."""

    HONOURED = "honoured"
    TRANSLATED = "translated"
    IGNORED = "ignored"
    REFUSED = "refused"


def always(value: Any, body: Body) -> bool:
    """Return True: every value asks for it."""
    return True


def when_true(value: Any, body: Body) -> bool:
    """Return whether ``value`` is more than false, zero or empty."""
    return bool(value)


@dataclass(frozen=True, slots=True)
class Member:
    """What becomes of one member."""

    kind: Kind
    note: str = ""
    """A sentence for clients: why it is ignored or refused, or what it is translated to."""
    asks: Asks = always
    """Of a member that is refused: which values are; others pass."""
    translate: Translate | None = None
    into: tuple[str, ...] = ()
    """The members that a translated one becomes."""
    is_holder: bool = False
    """Whether the table names its members too."""


Table = Mapping[str, Member]
"""Members by name; a name with a dot is a member of a member."""


def honoured(*names: str) -> dict[str, Member]:
    """Return a table of members that the engine gets as they are."""
    return dict.fromkeys(names, Member(Kind.HONOURED))


def ignored(note: str, *names: str) -> dict[str, Member]:
    """Return a table of members that change no answer here, so that nothing is lost."""
    return dict.fromkeys(names, Member(Kind.IGNORED, note))


def refused(note: str, *names: str, asks: Asks = always) -> dict[str, Member]:
    """Return a table of members that are refused when they ask for something."""
    return dict.fromkeys(names, Member(Kind.REFUSED, note, asks))


def translated(name: str, translate: Translate, *into: str, note: str = "") -> dict[str, Member]:
    """Return a table of one member that becomes the members ``into``."""
    said = note or f"Becomes `{'`, `'.join(into)}`."
    return {name: Member(Kind.TRANSLATED, said, translate=translate, into=into)}


def complete(table: Table) -> Table:
    """Return ``table``, in which each member that has members of its own says so."""
    holders = {path.rpartition(".")[0] for path in table if "." in path}
    return {path: replace(found, is_holder=path in holders) for path, found in table.items()}
