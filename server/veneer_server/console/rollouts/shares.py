"""From a form to a move of an alias, and how its two sides do. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from veneer_adapters.canaries.tally import Tally
from veneer_adapters.catalog.alias import Alias, Guard, Sticky, Target
from veneer_adapters.publishing.publishing import Wanted
from veneer_server.api.errors import InvalidRequest

_MOST_DIGITS = 9
_STICKY: dict[str, Sticky | None] = {"": None, "user": "user", "key": "key"}


@dataclass(frozen=True, slots=True)
class Side:
    """One target of an alias, and how its requests ended since the alias last moved."""

    revision: int
    percent: float
    tally: Tally
    """All zeros where no guard counts."""

    @property
    def failed(self) -> float | None:
        """The share of requests that failed; None without requests."""
        return self.tally.failed / self.tally.requests if self.tally.requests else None

    @property
    def broken(self) -> float | None:
        """The share of answers that broke their schema; None when none had one."""
        return self.tally.broken / self.tally.structured if self.tally.structured else None


def sides_of(alias: Alias, tallies: Mapping[int, Tally]) -> list[Side]:
    """Return the targets of ``alias``, the baseline first."""
    whole = sum(target.weight for target in alias.targets)
    return [
        Side(t.revision, 100 * t.weight / whole, tallies.get(t.revision, Tally()))
        for t in alias.targets
    ]


def to_wanted(form: Mapping[str, str]) -> Wanted:
    """Return the move that a form asks for: 0 % is the baseline alone, 100 % the canary alone.

    Raises:
        InvalidRequest: a field has an impossible value.
    """
    baseline, canary = _number(form, "baseline"), _number(form, "canary")
    share, expected = _number(form, "share", most=100), _number(form, "version")
    if share in (0, 100):
        return Wanted((Target(canary if share else baseline),), expected=expected)
    sticky = form.get("sticky", "")
    if sticky not in _STICKY:
        raise InvalidRequest("'sticky' must be user, key or nothing.", param="sticky")
    targets = Target(baseline, 100 - share), Target(canary, share)
    return Wanted(targets, _STICKY[sticky], _guard(form), expected)


def _guard(form: Mapping[str, str]) -> Guard | None:
    if not form.get("min_requests", "").strip():
        return None
    margin = _number(form, "margin", most=100)
    return Guard(_number(form, "min_requests"), margin / 100)


def _number(form: Mapping[str, str], name: str, most: int = 10**_MOST_DIGITS) -> int:
    text = form.get(name, "").strip()
    if not text.isdecimal() or len(text) > _MOST_DIGITS or int(text) > most:
        raise InvalidRequest(f"'{name}' must be a whole number of at most {most}.", param=name)
    return int(text)
