"""One structured log line for each event: readable on a terminal, else JSON.

A log line never holds the text of a request.
"""

import logging
import sys
from typing import Any

import structlog

from veneer_server.telemetry.tracing import current_ids


def _add_trace(logger: Any, method: str, event: dict[str, Any]) -> dict[str, Any]:
    """Add the ids of the current trace to a line, when there is one."""
    return event | current_ids()


_SHARED: list[Any] = [
    structlog.contextvars.merge_contextvars,
    _add_trace,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]
_NOISY = ("httpx", "watchfiles", "asyncio", "alembic", "uvicorn.access", "vllm")


def configure(level: str, style: str) -> None:
    """Send every log line of this process, vLLM's included, to stderr in one ``style``.

    ``style`` is ``json``, ``pretty`` or ``auto`` (pretty on a terminal).
    """
    pretty = style == "pretty" or (style == "auto" and sys.stderr.isatty())
    # The default formatter adds every local variable of every frame. That takes minutes to write,
    # and it would put keys into the log.
    plain = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    renderer: Any = plain if pretty else structlog.processors.JSONRenderer()
    final = [structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer]
    if not pretty:
        final.insert(1, structlog.processors.format_exc_info)
    sink = logging.StreamHandler(sys.stderr)
    sink.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=_SHARED, processors=final)
    )
    root = logging.getLogger()
    root.handlers = [sink]
    root.setLevel(level.upper())
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)
    structlog.configure(
        processors=[*_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
