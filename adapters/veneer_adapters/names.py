"""What the text in the field ``model`` means.

    <base>                                  the base model
    <adapter>                               its alias ``live``
    <adapter>@<alias>                       what the alias points to
    <adapter>@<n>                           revision number n
    <adapter>@sha256:<12 or more hex>       the revision with this digest
    <base>:<adapter>[@...]                  the same, as other servers write it
    ft:<base>:<tenant>:<suffix>:<8 characters>[:ckpt-step-<n>]
                                            the adapter ``<tenant>/ft-<8 characters>`` that a
                                            fine-tuning job has made, or a checkpoint of it

An adapter is called ``name`` or ``team/name``. Only this file reads this grammar. It knows which
base models exist, but not which adapters exist.
"""

import difflib
import heapq
import math
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from veneer_adapters.errors import AdapterNotFound

LIVE = "live"
"""The alias that a bare adapter name stands for."""
OPERATOR = "veneer"
"""What stands in the place of the tenant in ``ft:`` names of what no tenant owns."""

_PART = r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"
_ALIAS = r"[A-Za-z][A-Za-z0-9._-]{0,62}"
_NAME = re.compile(rf"{_PART}(?:/{_PART})?")
_SELECTOR = re.compile(
    rf"(?P<adapter>{_PART}(?:/{_PART})?)"
    r"(?:@(?:(?P<number>[1-9][0-9]{0,8})"
    r"|sha256:(?P<digest>[0-9a-f]{12,64})"
    rf"|(?P<alias>{_ALIAS})))?"
)

_TRAINED = re.compile(
    rf"(?P<tenant>{_PART}):[^:]{{0,64}}:(?P<id>[a-z0-9]{{8}})(?::(?P<step>ckpt-step-[0-9]{{1,9}}))?"
)

_MAX_SUGGESTIONS = 3
_MAX_COMPARED = 12
_PIECES = 6
"""Of so many pieces of a name, a misspelling leaves most as they are."""
_MAX_LENGTH_APART = 8


@dataclass(frozen=True, slots=True)
class Selector:
    """One adapter and a choice of its revision; exactly one of the last three fields is set."""

    adapter: str
    alias: str | None = None
    number: int | None = None
    digest: str | None = None
    """The first 12 to 64 hex digits of the revision's sha256."""

    def __str__(self) -> str:
        if self.number is not None:
            return f"{self.adapter}@{self.number}"
        if self.digest is not None:
            return f"{self.adapter}@sha256:{self.digest}"
        return self.adapter if self.alias == LIVE else f"{self.adapter}@{self.alias}"


def is_adapter_name(text: str) -> bool:
    """Return whether ``text`` may name an adapter."""
    return _NAME.fullmatch(text) is not None


def is_alias_name(text: str) -> bool:
    """Return whether ``text`` may name an alias: it must not look like a number or a digest."""
    return re.fullmatch(_ALIAS, text) is not None


def parse_model(text: str, bases: Collection[str]) -> Selector | None:
    """Return what ``text`` selects, or None when it names the base model itself.

    Raises:
        AdapterNotFound: the text cannot be a name, so nothing can have that name.
    """
    if text in bases:
        return None
    if trained := _trained(text, bases):
        return trained
    match = _SELECTOR.fullmatch(_without_base(text, bases))
    if match is None:
        raise AdapterNotFound(text, close_matches(text, bases))
    if match["number"]:
        return Selector(match["adapter"], number=int(match["number"]))
    if match["digest"]:
        return Selector(match["adapter"], digest=match["digest"])
    return Selector(match["adapter"], alias=match["alias"] or LIVE)


def close_matches(text: str, known: Iterable[str]) -> tuple[str, ...]:
    """Return at most three of ``known`` that ``text`` may be a misspelling of, the best first."""
    # Bounded, because a client that guesses names must not cost much CPU time with each guess.
    near = [name for name in known if abs(len(name) - len(text)) <= _MAX_LENGTH_APART]
    if len(near) > _MAX_COMPARED:
        pieces = _pieces(text)
        near = heapq.nlargest(_MAX_COMPARED, near, lambda name: sum([p in name for p in pieces]))
    return tuple(difflib.get_close_matches(text, near, n=_MAX_SUGGESTIONS))


def _pieces(text: str) -> list[str]:
    size = max(2, math.ceil(len(text) / _PIECES))
    return [text[at : at + size] for at in range(0, len(text), size)]


def _trained(text: str, bases: Collection[str]) -> Selector | None:
    """Return what an ``ft:`` name selects, None for any other text."""
    starts = (f"ft:{base}:" for base in bases)
    rests = (text.removeprefix(start) for start in starts if text.startswith(start))
    match = next((found for rest in rests if (found := _TRAINED.fullmatch(rest))), None)
    if match is None:
        return None
    name, tenant = f"ft-{match['id']}", match["tenant"]
    adapter = name if tenant == OPERATOR else f"{tenant}/{name}"
    return Selector(adapter, alias=match["step"] or LIVE)


def _without_base(text: str, bases: Collection[str]) -> str:
    # The longest first: a base id may contain ":" and may begin with the id of another base.
    for base in sorted(bases, key=len, reverse=True):
        if text.startswith(f"{base}:"):
            return text[len(base) + 1 :]
    return text
