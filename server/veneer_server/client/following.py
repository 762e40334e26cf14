"""Watching a server work on new content until it is settled."""

import time
from collections.abc import Callable, Iterator

from veneer_server.client.adapters import AdaptersApi
from veneer_server.client.answers import Adapter, Revision
from veneer_server.client.failures import ContentRefused, LeftRunning, NotFinished

_LOOK_EVERY_S = 0.2


def follow(api: AdaptersApi, name: str, timeout_s: float) -> Iterator[Adapter]:
    """Yield the adapter at every look; the last one is settled.

    Raises:
        NotFinished: it was not settled after ``timeout_s``.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        seen = api.adapter(name)
        yield seen
        if is_settled(seen):
            return
        if time.monotonic() >= deadline:
            raise NotFinished(name, timeout_s)
        time.sleep(_LOOK_EVERY_S)


def is_settled(adapter: Adapter) -> bool:
    """Return whether the server is done with the newest content, for good or ill."""
    at_work = adapter.state in ("absent", "staging") and adapter.reason is None
    return adapter.progress is None and not at_work


def watch(
    begin: Callable[[], None],
    api: AdaptersApi,
    name: str,
    timeout_s: float,
    show: Callable[[Adapter], None],
) -> Adapter:
    """Begin work on the server and show how it goes; return the settled adapter.

    Raises:
        NotFinished: it was not settled after ``timeout_s``.
        LeftRunning: Ctrl-C; the server goes on.
    """
    try:
        begin()
        for seen in follow(api, name, timeout_s):
            show(seen)
    except KeyboardInterrupt:
        raise LeftRunning(name) from None
    return seen


def outcome(api: AdaptersApi, before: int | None, after: Adapter) -> Revision | None:
    """Return the revision that is new since ``before``, the latest number then.

    None when the files are those of a revision the adapter already had.

    Raises:
        ContentRefused: the files were looked at and will not be served.
    """
    if after.latest is not None and after.latest > (before or 0):
        revision = api.revision(after.name, after.latest)
        if revision.state != "failed":
            return revision
        raise ContentRefused(after.name, revision.reason or "failed", revision.detail)
    if after.reason is not None:
        raise ContentRefused(after.name, after.reason, after.detail)
    return None
