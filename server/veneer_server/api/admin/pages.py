"""Long listings in pages: at most ``limit`` items, beginning after the item ``after``."""

from collections.abc import Callable, Sequence
from typing import Any

from fastapi import Request

from veneer_server.api.errors import InvalidRequest

_DEFAULT, _MOST = 100, 1000
_DIGITS = len(str(_MOST))


def page(
    request: Request,
    items: Sequence[Any],
    cursor: Callable[[Any], str],
    show: Callable[[Any], dict[str, Any]],
) -> dict[str, Any]:
    """Return the page of ``items`` that the query asks for.

    ``cursor`` returns a text that only one item has; ``show`` returns an item as JSON.

    Raises:
        InvalidRequest: ``limit`` is not a number from 1 to 1000, or ``after`` names no item.
    """
    limit = limit_of(request)
    begin = _begin(request, items, cursor)
    shown = items[begin : begin + limit]
    has_more = len(items) > begin + limit
    return {
        "object": "list",
        "data": [show(item) for item in shown],
        "has_more": has_more,
        "next": cursor(shown[-1]) if has_more else None,
    }


def limit_of(request: Request) -> int:
    """Return how many items the page has at most; raises as ``page``."""
    text = request.query_params.get("limit", str(_DEFAULT))
    # Python refuses to read a number of thousands of digits.
    if not text.isdecimal() or len(text) > _DIGITS or not 1 <= int(text) <= _MOST:
        raise InvalidRequest(f"'limit' must be a number from 1 to {_MOST}.", param="limit")
    return int(text)


def _begin(request: Request, items: Sequence[Any], cursor: Callable[[Any], str]) -> int:
    after = request.query_params.get("after")
    if after is None:
        return 0
    for index, item in enumerate(items):
        if cursor(item) == after:
            return index + 1
    raise InvalidRequest(
        "'after' names no item of this listing; use the 'next' of a page.", param="after"
    )
