"""What was typed, read: which server, which alias, which revisions with which shares.

Rule: no I/O here, and every fault is a ``BadArgument`` whose message says what to write.
"""

import os.path
import re
from typing import Any

from veneer_adapters.errors import AdapterNotFound, quoted
from veneer_adapters.names import is_adapter_name, parse_model
from veneer_server.commands.client.failures import BadArgument

_EVERYWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared, not bound
_PAIR = re.compile(r"([1-9][0-9]{0,8})=([1-9][0-9]{0,8})")
DEFAULT_MARGIN = 0.05
"""How much worse than the baseline a guarded canary may be: 5 percentage points."""


def server_url(host: str, port: int) -> str:
    """Return where a server with these settings answers on this machine, without ``/v1``."""
    if port == 0:
        raise BadArgument("server.port is 0, so nobody knows the server's port: give --url.")
    reachable = "127.0.0.1" if host in _EVERYWHERE else host
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


def without_v1(url: str) -> str:
    """Return ``url`` as the root of a server; the form of ``OPENAI_BASE_URL`` is accepted."""
    return url.rstrip("/").removesuffix("/v1")


def to_source(text: str) -> str:
    """Return ``text`` as the server understands it: URLs as they are, paths absolute."""
    return text if "://" in text else os.path.abspath(os.path.expanduser(text))


def to_name(text: str) -> str:
    """Return ``text`` if it can name an adapter."""
    if not is_adapter_name(text):
        raise BadArgument(f"{quoted(text)} cannot name an adapter; write NAME or TEAM/NAME.")
    return text


def to_alias(text: str) -> tuple[str, str]:
    """Return adapter and alias of ``NAME`` (its ``live``) or ``NAME@ALIAS``."""
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
        raise BadArgument("--split is written REVISION=WEIGHT,..., for instance 3=90,4=10.")
    targets = [{"revision": int(pair[1]), "weight": int(pair[2])} for pair in found]
    if len({target["revision"] for target in targets}) < len(targets):
        raise BadArgument("--split names a revision twice.")
    return targets


def to_move(
    revision: int | None,
    split: str | None,
    sticky: str | None,
    guard_requests: int | None,
    guard_margin: float | None,
) -> dict[str, Any] | None:
    """Return the body of an alias move, or None when nothing was asked to move."""
    if split is None and (sticky, guard_requests, guard_margin) != (None, None, None):
        raise BadArgument("--sticky and --guard-... belong to a --split.")
    if guard_margin is not None and guard_requests is None:
        raise BadArgument("--guard-margin needs --guard-requests: after how many to judge.")
    if split is None:
        return None if revision is None else {"revision": revision}
    if revision is not None:
        raise BadArgument("Give either a REVISION or a --split, not both.")
    body: dict[str, Any] = {"targets": to_targets(split)}
    if sticky is not None:
        body["sticky"] = sticky
    if guard_requests is not None:
        margin = DEFAULT_MARGIN if guard_margin is None else guard_margin
        body["guard"] = {"min_requests": guard_requests, "margin": margin}
    return body
