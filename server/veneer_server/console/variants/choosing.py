"""Which rows of the table somebody wants to see, in which order. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from veneer_adapters.lifecycle import State
from veneer_server.api.errors import InvalidRequest
from veneer_server.console.variants.rows import Row

COLUMNS = {
    "name": "Name",
    "state": "State",
    "live": "Live",
    "rank": "Rank",
    "size_bytes": "Size",
    "slot": "Slot",
    "requests_per_s": "Requests/s",
    "first_token_p95_s": "First token p95",
    "gap_p95_s": "Gap p95",
    "failed": "Failed",
    "cold_starts": "Cold starts",
    "used_s": "Last used",
}
"""Every column, by what it is sorted by."""
_TEXTS = {"name", "state", "slot"}
_LARGEST_FIRST = {*COLUMNS} - _TEXTS
SIZES = (100, 1000)
"""How many rows a page may have."""
_LONGEST = 200
_MOST_PAGES = 100_000


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants to see."""

    text: str = ""
    """Names that contain it."""
    state: str = ""
    sort: str = "name"
    backwards: bool = False
    page: int = 1
    size: int = SIZES[0]

    def query(self, **changed: Any) -> str:
        """Return the query of an address that asks for this, with some members ``changed``."""
        wish = replace(self, **changed)
        shown = {
            "text": wish.text,
            "state": wish.state,
            "sort": wish.sort,
            "backwards": "1" if wish.backwards else "",
            "page": str(wish.page),
            "size": str(wish.size),
        }
        usual = {"sort": "name", "page": "1", "size": str(SIZES[0])}
        return urlencode({k: v for k, v in shown.items() if v and v != usual.get(k)})

    def sorted_by(self, column: str) -> str:
        """Return the query that sorts by ``column``: again the other way round."""
        backwards = not self.backwards if column == self.sort else column in _LARGEST_FIRST
        return self.query(sort=column, backwards=backwards, page=1)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The rows of one page."""

    rows: Sequence[Row]
    first: int
    """The number of the first one among all that fit, from 1."""
    fitting: int
    pages: int


def to_wish(query: Mapping[str, str]) -> Wish:
    """Return what the ``query`` of an address asks for.

    Raises:
        InvalidRequest: a member has an impossible value; the message names it.
    """
    return Wish(
        text=query.get("text", "").strip()[:_LONGEST],
        state=_among(query, "state", ("", *State), ""),
        sort=_among(query, "sort", tuple(COLUMNS), "name"),
        backwards=_among(query, "backwards", ("", "1"), "") == "1",
        page=_page(query.get("page", "1")),
        size=int(_among(query, "size", tuple(map(str, SIZES)), str(SIZES[0]))),
    )


def choose(rows: Sequence[Row], wish: Wish) -> Chosen:
    """Return the rows that ``wish`` asks for; those without a figure come last."""
    text = wish.text.lower()
    fitting = [
        row
        for row in rows
        if text in row.name.lower() and (not wish.state or row.state == wish.state)
    ]
    known = [row for row in fitting if getattr(row, wish.sort) is not None]
    unknown = [row for row in fitting if getattr(row, wish.sort) is None]
    known.sort(key=lambda row: _rank(getattr(row, wish.sort)), reverse=wish.backwards)
    pages = max(-(-len(fitting) // wish.size), 1)
    begin = (min(wish.page, pages) - 1) * wish.size
    return Chosen((known + unknown)[begin : begin + wish.size], begin + 1, len(fitting), pages)


def _rank(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _among(query: Mapping[str, str], name: str, known: tuple[str, ...], usual: str) -> str:
    value = query.get(name, usual)
    if value not in known:
        raise InvalidRequest(f"'{name}' cannot be {value[:50]!r}.", param=name)
    return value


def _page(text: str) -> int:
    if not text.isdecimal() or len(text) > len(str(_MOST_PAGES)) or not int(text):
        raise InvalidRequest("'page' must be a number from 1.", param="page")
    return int(text)
