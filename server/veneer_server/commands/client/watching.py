"""Watches a server's work on new content until it has ended: until the adapter is settled."""

import time
from collections.abc import Callable, Iterator

from veneer_server.commands.client.documents import Adapter, Revision
from veneer_server.commands.client.failures import ContentRefused, LeftRunning, NotFinished
from veneer_server.commands.client.routes import AdaptersApi

_LOOK_EVERY_S = 0.2


def follow(api: AdaptersApi, name: str, timeout_s: float) -> Iterator[Adapter]:
    """Ask for the adapter again and again, and yield each answer; the last one is settled.

    Raises:
        NotFinished: the adapter was not settled after ``timeout_s`` seconds.
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
    """Return whether the server has finished the newest content, with success or without."""
    at_work = adapter.state == "staging" and adapter.reason is None
    return adapter.progress is None and not at_work


def watch(
    begin: Callable[[], None],
    api: AdaptersApi,
    name: str,
    timeout_s: float,
    show: Callable[[Adapter], None],
) -> Adapter:
    """Begin the server's work and show its progress; return the settled adapter.

    Raises:
        NotFinished: the adapter was not settled after ``timeout_s`` seconds.
        LeftRunning: the user pressed Ctrl-C; the server goes on.
    """
    try:
        begin()
        for seen in follow(api, name, timeout_s):
            show(seen)
    except KeyboardInterrupt:
        raise LeftRunning(name) from None
    return seen


def outcome(
    api: AdaptersApi, before: Adapter | None, after: Adapter, alias: str | None
) -> Revision | None:
    """Return the revision that holds the new content, when the work on it has ended.

    ``before`` is the adapter as it was before the work, ``after`` the settled one. ``alias`` is
    the alias that was to move to the revision, None for no alias. Return None when the adapter
    had the same files already and no alias was to move: the server does not say which revision
    has them.

    Raises:
        ContentRefused: the server cannot serve the files, or could not get them.
    """
    now = after.aliases.get(alias) if alias else None
    if now is not None and (before is None or now != before.aliases.get(now.alias)):
        return api.revision(after.name, now.targets[0].revision)
    newest = None
    if after.latest is not None and after.latest > ((before and before.latest) or 0):
        newest = api.revision(after.name, after.latest)
    # If nothing else changed, the reason may be older than this content. To report it is safer.
    refused = newest if newest is not None and newest.reason is not None else after
    if refused.reason is not None:
        raise ContentRefused(after.name, refused.reason, refused.detail)
    if newest is None and now is not None:
        return api.revision(after.name, now.targets[0].revision)
    return newest
