"""Around each change by request: an entry before it, and one that says how it ended."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import structlog
from fastapi import Request

from veneer_adapters.errors import AdapterUnavailable
from veneer_server.api.deps import Server
from veneer_server.api.errors import to_api_error, to_reason
from veneer_server.auditing.entries import ASKED, DONE, Change

logger = structlog.get_logger(__name__)

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
    """Write down that somebody is about to do the block, then how it ended.

    So there is no change without an entry. A change whose server died has an entry ``asked``, and
    none that follows it.

    Raises:
        AdapterUnavailable: the entry cannot be written; the block did not begin.
    """
    who = request.state.principal

    def change(outcome: str, object_: str) -> Change:
        return Change(
            time=server.audit.now,
            actor=who.key_id or _OPERATOR,
            tenant=who.tenant,
            action=action,
            object=_printable(object_),
            details=details,
            outcome=outcome,
            request=request.state.request_id,
        )

    await server.audit.append(change(ASKED, object_))
    changing, outcome = Changing(object_), "cancelled"
    try:
        yield changing
        outcome = DONE
    except Exception as error:
        outcome = to_reason(to_api_error(error))
        raise
    finally:
        try:
            await server.audit.append(change(outcome, changing.object))
        except AdapterUnavailable as error:
            logger.warning("audit outcome not written", action=action, detail=str(error))


def _printable(text: str) -> str:
    """Return ``text`` as every database keeps it: PostgreSQL takes no NUL."""
    return "".join(char if char.isprintable() else "?" for char in text)
