"""A movable pointer: what an alias points to, and where it came from. No I/O, no clock.

A target list is never changed, only replaced; the ones before are kept, so that going back is
a pointer move like any other.
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
    """A share relative to the other targets' weights."""


@dataclass(frozen=True, slots=True)
class Guard:
    """When a canary is taken back: it fails more often than the baseline by ``margin``."""

    min_requests: int
    """Requests each side must have answered before there is a verdict."""
    margin: float
    """How much higher its share of failures may be: 0.05 is five of a hundred."""


@dataclass(frozen=True, slots=True)
class Alias:
    """What one alias of one adapter means now."""

    name: str
    targets: tuple[Target, ...]
    """The first one is the baseline of a guard."""
    version: int = 1
    """Counts the moves; what ``If-Match`` compares."""
    sticky: Sticky | None = None
    """What keeps a caller on one target; None: each request is drawn anew."""
    guard: Guard | None = None
    since: int = 0
    """When it was moved last, in seconds since 1970."""
    by: Mover = "publish"
    earlier: tuple[tuple[Target, ...], ...] = ()
    """What it pointed to before, newest last."""

    @property
    def main(self) -> int:
        """The revision most requests get."""
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
        """Return the alias pointing to ``targets``."""
        earlier = (*self.earlier, self.targets)[-_MAX_EARLIER:]
        return Alias(self.name, targets, self.version + 1, sticky, guard, now, by, earlier)

    def rolled_back(self, *, now: int, by: Mover = "rollback") -> "Alias":
        """Return the alias pointing to what it pointed to before.

        Raises:
            NothingToRollBack: it never pointed to anything else.
        """
        if not self.earlier:
            raise NothingToRollBack(
                f"The alias {quoted(self.name)} never pointed to anything else."
            )
        back = self.moved(self.earlier[-1], now=now, by=by)
        return replace(back, earlier=self.earlier[:-1])


def check_targets(targets: tuple[Target, ...], guard: Guard | None = None) -> None:
    """Return when traffic can be split so.

    Raises:
        TargetsImpossible: none, too many, one twice, a weight or a guard out of range.
    """
    numbers = [target.revision for target in targets]
    if not 1 <= len(targets) <= MAX_TARGETS:
        raise TargetsImpossible(f"An alias has between 1 and {MAX_TARGETS} targets.")
    if len(set(numbers)) != len(numbers):
        raise TargetsImpossible("Each target of an alias must be another revision.")
    if not all(1 <= target.weight <= MAX_WEIGHT for target in targets):
        raise TargetsImpossible(f"A weight is a whole number from 1 to {MAX_WEIGHT}.")
    if guard is None:
        return
    if len(targets) < 2:
        raise TargetsImpossible("A guard compares targets, so it needs at least two of them.")
    if guard.min_requests < 1 or not 0 <= guard.margin <= 1:
        raise TargetsImpossible("A guard needs at least 1 request and a margin between 0 and 1.")
