"""A part of a list, and whether there is more."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A part of a list."""

    items: list[T]
    more: bool
    """Whether the list goes on after ``items``."""


def cut(found: Sequence[T], limit: int) -> Page[T]:
    """Return the first ``limit`` of ``found``, which has one more when the list goes on."""
    return Page(list(found[:limit]), len(found) > limit)
