"""Reads the arguments of a command: which server, which alias, which revisions and weights.

Rule: this file does no I/O, and every error is a ``BadArgument`` that says what to write.
"""

import os.path
import re
from typing import Any

from veneer_adapters.errors import AdapterNotFound, quoted
from veneer_adapters.names import is_adapter_name, parse_model
from veneer_server.commands.client.failures import BadArgument
from veneer_server.settings import ServerSettings

_EVERYWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared, not bound
_PAIR = re.compile(r"([1-9][0-9]{0,8})=([1-9][0-9]{0,8})")
DEFAULT_MARGIN = 0.05
"""How much worse than the baseline a guarded canary may be: 5 percentage points."""


def server_url(host: str, port: int) -> str:
    """Return the URL of a server with these settings on this machine, without ``/v1``."""
    if port == 0:
        raise BadArgument("server.port is 0, so the server's port is unknown; give --url.")
    reachable = "127.0.0.1" if host in _EVERYWHERE else host
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


def address(settings: ServerSettings, exported: str | None) -> str:
    """Return the URL of the server that a command without ``--url`` means.

    It is the one that ``settings`` place on this machine. Where they say nothing of that, it is
    ``exported``: OPENAI_BASE_URL, which a server tells its user to export.
    """
    placed = {"host", "port"} & settings.model_fields_set
    return exported if exported and not placed else server_url(settings.host, settings.port)


def without_v1(url: str) -> str:
    """Return ``url`` without a ``/v1`` at its end, as OPENAI_BASE_URL has it."""
    return url.rstrip("/").removesuffix("/v1")


def to_source(text: str) -> str:
    """Return ``text`` in the server's form: a URL stays as it is, a path becomes absolute."""
    return text if "://" in text else os.path.abspath(os.path.expanduser(text))


def to_name(text: str) -> str:
    """Return ``text`` if it can name an adapter."""
    if not is_adapter_name(text):
        raise BadArgument(f"{quoted(text)} cannot name an adapter; write NAME or TEAM/NAME.")
    return text


def to_alias(text: str) -> tuple[str, str]:
    """Return the adapter and the alias of ``NAME@ALIAS``; ``NAME`` means its alias ``live``."""
    try:
        found = parse_model(text, ())
    except AdapterNotFound:
        found = None
    if found is None or found.alias is None:
        raise BadArgument(f"{quoted(text)} names no alias; write NAME or NAME@ALIAS.")
    return found.adapter, found.alias


def to_targets(split: str) -> list[dict[str, int]]:
    """Return the targets of ``REVISION=WEIGHT,...``, for instance ``3=90,4=10``."""
    pairs = [_PAIR.fullmatch(part.strip()) for part in split.split(",")]
    found = [pair for pair in pairs if pair is not None]
    if len(found) < len(pairs):
        raise BadArgument("Write --split as REVISION=WEIGHT,..., for instance 3=90,4=10.")
    targets = [{"revision": int(pair[1]), "weight": int(pair[2])} for pair in found]
    if len({target["revision"] for target in targets}) < len(targets):
        raise BadArgument("--split names one revision twice; name each one once.")
    return targets


def to_move(
    revision: int | None,
    split: str | None,
    sticky: str | None,
    guard_requests: int | None,
    guard_margin: float | None,
) -> dict[str, Any] | None:
    """Return the body of the request that moves an alias, None when no move was asked for."""
    if split is None and (sticky, guard_requests, guard_margin) != (None, None, None):
        raise BadArgument("--sticky, --guard-requests and --guard-margin need --split.")
    if guard_margin is not None and guard_requests is None:
        raise BadArgument("--guard-margin needs --guard-requests.")
    if split is None:
        return None if revision is None else {"revision": revision}
    if revision is not None:
        raise BadArgument("Give either a REVISION or --split, not both.")
    body: dict[str, Any] = {"targets": to_targets(split)}
    if sticky is not None:
        body["sticky"] = sticky
    if guard_requests is not None:
        margin = DEFAULT_MARGIN if guard_margin is None else guard_margin
        body["guard"] = {"min_requests": guard_requests, "margin": margin}
    return body
