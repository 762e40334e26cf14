"""Around each change: an entry before it, and one that says how it ended."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog

from veneer_adapters.errors import AdapterUnavailable
from veneer_server.auditing.entries import ASKED, DONE, Change
from veneer_server.auditing.log import AuditLog

logger = structlog.get_logger(__name__)


@asynccontextmanager
async def around(
    log: AuditLog, change: Callable[[str], Change], reason: Callable[[Exception], str]
) -> AsyncIterator[None]:
    """Write down what the block is about to do, then how it ended.

    ``change`` makes an entry of an outcome, and ``reason`` an outcome of an error. So there is no
    change without an entry. A change whose server died has one ``asked``, and none that follows it.

    Raises:
        AdapterUnavailable: the entry cannot be written; the block did not begin.
    """
    await log.append(change(ASKED))
    outcome = "cancelled"
    try:
        yield
        outcome = DONE
    except Exception as error:
        outcome = reason(error)
        raise
    finally:
        ended = change(outcome)
        try:
            await log.append(ended)
        except AdapterUnavailable as error:
            logger.warning("audit outcome not written", action=ended.action, detail=str(error))
