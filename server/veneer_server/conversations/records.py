"""What is kept: values that the store returns and that nobody changes."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

Item = dict[str, Any]
"""A message, a tool call or another item, in OpenAI's shape, with its id."""


class Status(StrEnum):
    """How far a response is."""

    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    INCOMPLETE = "incomplete"
    FAILED = "failed"
    CANCELLED = "cancelled"


UNFINISHED = (Status.QUEUED, Status.IN_PROGRESS)


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """One response and everything that is needed to go on from it."""

    id: str
    owner: str
    """A digest of the key that asked for it; empty when there was no key."""
    status: str
    context: list[Item]
    """All items before this turn."""
    input: list[Item]
    """The items that came with this turn's request."""
    document: dict[str, Any]
    """The response in OpenAI's shape."""

    @property
    def finished(self) -> bool:
        """Whether nothing more will come."""
        return self.status not in UNFINISHED

    @property
    def items(self) -> list[Item]:
        """Return all items in order, the answer last: the context of the next turn."""
        return [*self.context, *self.input, *self.document["output"]]


@dataclass(frozen=True, slots=True)
class Conversation:
    """A list of items that turns add to."""

    id: str
    owner: str
    created: int
    """In seconds since the epoch."""
    items: int
    """How many items it has ever had."""
    metadata: dict[str, str]


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list of items."""

    items: list[Item]
    more: bool
    """Whether the list goes on after ``items``."""
