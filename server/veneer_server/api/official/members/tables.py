"""The table of each endpoint, and what a table decides of a body. Pure functions."""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from veneer_server.api.errors import UnsupportedParameter
from veneer_server.api.official.members.base import Kind, Member, Table, complete
from veneer_server.api.official.members.chat import CHAT
from veneer_server.api.official.members.completions import COMPLETIONS
from veneer_server.api.official.members.messages import COUNT_TOKENS, MESSAGES
from veneer_server.api.official.members.responses import RESPONSES
from veneer_server.api.official.members.tokens import DETOKENIZE, TOKENIZE
from veneer_server.engine.base import Endpoint

TABLES: Mapping[Endpoint, Table] = {
    Endpoint.CHAT: complete(CHAT),
    Endpoint.COMPLETIONS: complete(COMPLETIONS),
    Endpoint.RESPONSES: complete(RESPONSES),
    Endpoint.MESSAGES: complete(MESSAGES),
    Endpoint.COUNT_TOKENS: complete(COUNT_TOKENS),
    Endpoint.TOKENIZE: complete(TOKENIZE),
    Endpoint.DETOKENIZE: complete(DETOKENIZE),
}
_NOTHING: tuple[Any, ...] = ("", [], {})
"""What asks for nothing, whatever the member means."""
_SHOWN = 100
"""Most characters of an unknown name in a message."""


def decided(table: Table, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``body`` without what ``table`` ignores, and translated as it says.

    Raises:
        UnsupportedParameter: a member is refused, or nobody knows it and it asks for something.
    """
    kept = dict(_kept(table, body, ""))
    for name, member in table.items():
        if member.translate is not None and name in kept:
            kept = member.translate(kept)
    return kept


def as_written(table: Table, body: Mapping[str, Any], param: str | None) -> str | None:
    """Return the member of ``body`` that became ``param`` of the body that the engine got."""
    first = re.split(r"[.\[]", param or "", maxsplit=1)[0]
    if param is None or first in body:
        return param
    return next((name for name in body if first in table.get(name, _NONE).into), param)


_NONE = Member(Kind.HONOURED)


def _kept(table: Table, body: Mapping[str, Any], above: str) -> Iterator[tuple[str, Any]]:
    for name, value in body.items():
        path = above + name
        member = table.get(path)
        if member is None:
            _refuse_unknown([other for other in table if other.startswith(above)], path, value)
        elif member.kind is Kind.REFUSED and member.asks(value, body):
            raise UnsupportedParameter(
                f"Unsupported parameter: '{path}'. {member.note}", param=path
            )
        elif member.kind is not Kind.IGNORED:
            yield name, _inside(table, path, value) if member.is_holder else value


def _inside(table: Table, path: str, value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    given = {name: found for name, found in value.items() if found is not None}
    return dict(_kept(table, given, f"{path}."))


def _refuse_unknown(known: Sequence[str], path: str, value: Any) -> None:
    if value in _NOTHING:
        return
    shown = path if len(path) <= _SHOWN else f"{path[:_SHOWN]}..."
    near = difflib.get_close_matches(path[:_SHOWN], known, n=1, cutoff=0.8)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    raise UnsupportedParameter(
        f"Unrecognized request argument supplied: '{shown}'.{hint}", param=shown
    )
