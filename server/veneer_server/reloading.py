"""What SIGHUP changes in a running server: the settings that nothing was built from."""

import logging
from collections.abc import Callable

import structlog

from veneer_server.api.deps import Server
from veneer_server.settings import Settings, SettingsError

logger = structlog.get_logger(__name__)

LIVE = (
    "limits.max_body_bytes",
    "limits.max_headers",
    "limits.max_header_bytes",
    "limits.header_timeout_s",
    "limits.body_timeout_s",
    "limits.body_bytes_per_s",
    "limits.write_timeout_s",
    "limits.max_connections",
    "tenants.rpm",
    "tenants.tpm",
    "tenants.concurrency",
    "tenants.adapters",
    "tenants.stored_gib",
    "tenants.limits",
    "tenants.server_rpm",
    "tenants.server_tpm",
    "tenants.server_concurrency",
    "observability.log_level",
)
"""The settings that a running server takes over; any other waits for the next start."""


def reload(server: Server, read: Callable[[], Settings]) -> None:
    """Take over the live settings that ``read`` returns; one log line names what changed.

    If the settings cannot be used, the server goes on with those that it has.
    """
    try:
        wanted = read()
    except SettingsError as error:
        logger.error("settings not read again", detail=str(error))
        return
    changed = differences(server.settings, wanted)
    server.settings = merge(server.settings, wanted)
    logging.getLogger().setLevel(server.settings.observability.log_level.upper())
    logger.warning(
        "settings read again",
        changed=[name for name in changed if name in LIVE],
        at_next_start=[name for name in changed if name not in LIVE],
    )


def differences(running: Settings, wanted: Settings) -> list[str]:
    """Return the names of the settings in which the two differ."""
    return [
        f"{section}.{field}"
        for section, holder in running
        for field, value in holder
        if getattr(getattr(wanted, section), field) != value
    ]


def merge(running: Settings, wanted: Settings) -> Settings:
    """Return ``running`` with the live settings of ``wanted``."""
    sections = {}
    for section, holder in running:
        live = {field for field in type(holder).model_fields if f"{section}.{field}" in LIVE}
        new = {field: getattr(getattr(wanted, section), field) for field in live}
        sections[section] = holder.model_copy(update=new)
    return running.model_copy(update=sections)
