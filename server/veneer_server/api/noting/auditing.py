"""Around each change by request: an entry before it, and one that says how it ended."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import Request

from veneer_server.api.deps import Server
from veneer_server.api.errors import to_api_error, to_reason
from veneer_server.auditing.around import around
from veneer_server.auditing.entries import Change

_OPERATOR = "operator"


@dataclass(slots=True)
class Changing:
    """A change that goes on."""

    object: str
    """What is changed; it may become known only while it is."""


@asynccontextmanager
async def audited(
    request: Request, server: Server, action: str, object_: str, **details: Any
) -> AsyncIterator[Changing]:
    """Write down that somebody is about to do the block, then how it ended; see ``around``.

    Raises:
        AdapterUnavailable: the entry cannot be written; the block did not begin.
    """
    who, changing = request.state.principal, Changing(object_)

    def change(outcome: str) -> Change:
        return Change(
            time=server.audit.now,
            actor=who.key_id or _OPERATOR,
            tenant=who.tenant,
            action=action,
            object=_printable(changing.object),
            details=details,
            outcome=outcome,
            request=request.state.request_id,
        )

    async with around(server.audit, change, lambda error: to_reason(to_api_error(error))):
        yield changing


def _printable(text: str) -> str:
    """Return ``text`` as every database keeps it: PostgreSQL takes no NUL."""
    return "".join(char if char.isprintable() else "?" for char in text)
