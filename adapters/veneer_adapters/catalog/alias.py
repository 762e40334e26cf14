"""A movable name: what an alias points to, and what it pointed to before. No I/O, no clock.

An alias is never changed, only replaced. It keeps its earlier targets, so rolling back is a move of
the alias like any other.
"""

from dataclasses import dataclass, replace
from typing import Literal

from veneer_adapters.errors import NothingToRollBack, TargetsImpossible, quoted

Sticky = Literal["user", "key"]
Mover = Literal["publish", "move", "rollback", "guard"]

MAX_TARGETS = 16
MAX_WEIGHT = 1_000_000
_MAX_EARLIER = 50


@dataclass(frozen=True, slots=True)
class Target:
    """One revision and its share of the traffic."""

    revision: int
    weight: int = 1
    """Its share, relative to the weights of the other targets."""


@dataclass(frozen=True, slots=True)
class Guard:
    """When to take a canary back: when it does worse than the baseline by more than ``margin``."""

    min_requests: int
    """How many requests each side must have answered before there is a verdict."""
    margin: float
    """How much higher the canary's share may be: 0.05 means five of a hundred."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """What an alias was before a move, so that a rollback brings all of it back."""

    targets: tuple[Target, ...]
    sticky: Sticky | None = None
    guard: Guard | None = None


@dataclass(frozen=True, slots=True)
class Alias:
    """What one alias of one adapter means now."""

    name: str
    targets: tuple[Target, ...]
    """The first one is the baseline of the guard."""
    version: int = 1
    """Counts the moves; ``If-Match`` of the HTTP API compares it."""
    sticky: Sticky | None = None
    """What keeps a caller on one target. None: each request draws a target."""
    guard: Guard | None = None
    since: int = 0
    """When it last moved, in seconds since 1970."""
    by: Mover = "publish"
    earlier: tuple[Earlier, ...] = ()
    """What it was before, the newest last; at most 50."""

    @property
    def main(self) -> int:
        """The revision with the largest weight, which gets most requests."""
        return max(self.targets, key=lambda target: target.weight).revision

    def moved(
        self,
        targets: tuple[Target, ...],
        *,
        now: int,
        by: Mover,
        sticky: Sticky | None = None,
        guard: Guard | None = None,
    ) -> "Alias":
        """Return the alias as it is after a move to ``targets``."""
        before = Earlier(self.targets, self.sticky, self.guard)
        earlier = (*self.earlier, before)[-_MAX_EARLIER:]
        return Alias(self.name, targets, self.version + 1, sticky, guard, now, by, earlier)

    def rolled_back(self, *, now: int, by: Mover = "rollback") -> "Alias":
        """Return the alias as it is after a move back to its earlier targets, sticky and guarded as
        it was with them.

        Raises:
            NothingToRollBack: there are no earlier targets.
        """
        if not self.earlier:
            raise NothingToRollBack(
                f"The alias {quoted(self.name)} has no earlier targets that can serve."
            )
        then = self.earlier[-1]
        back = self.moved(then.targets, now=now, by=by, sticky=then.sticky, guard=then.guard)
        return replace(back, earlier=self.earlier[:-1])


def check_targets(targets: tuple[Target, ...], guard: Guard | None = None) -> None:
    """Return when an alias may split its requests between ``targets`` under ``guard``.

    Raises:
        TargetsImpossible: there are none, too many, one is there twice, or a weight or the guard is
            out of range.
    """
    numbers = [target.revision for target in targets]
    if not 1 <= len(targets) <= MAX_TARGETS:
        raise TargetsImpossible(f"An alias has between 1 and {MAX_TARGETS} targets.")
    if len(set(numbers)) != len(numbers):
        raise TargetsImpossible("Each target of an alias must be a different revision.")
    if not all(1 <= target.weight <= MAX_WEIGHT for target in targets):
        raise TargetsImpossible(f"A weight is a whole number from 1 to {MAX_WEIGHT}.")
    if guard is None:
        return
    if len(targets) < 2:
        raise TargetsImpossible("A guard compares targets, so the alias needs at least two.")
    if guard.min_requests < 1 or not 0 <= guard.margin <= 1:
        raise TargetsImpossible(
            "A guard needs min_requests of at least 1 and a margin from 0 to 1."
        )
