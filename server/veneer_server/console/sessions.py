"""Who is signed in to the console.

A session is a random text in a cookie, and here the key it stands for. It ends when its key does,
after ``LASTS_S``, when somebody signs out, and when the server ends. API routes know nothing of it.
"""

import hashlib
import secrets
import time
from collections.abc import Callable

from cachetools import TTLCache

from veneer_server.tenancy.keyring import Keyring
from veneer_server.tenancy.principals import Principal

LASTS_S = 12 * 3600
MOST = 1000
"""Sessions at the same time; the oldest one ends first."""


class Sessions:
    """The sessions of one server. They are kept in memory only, by the digest of their text."""

    def __init__(self, keyring: Keyring, clock: Callable[[], float] = time.monotonic) -> None:
        self._keyring = keyring
        self._kept: TTLCache[str, Principal] = TTLCache(MOST, LASTS_S, clock)

    def begin(self, who: Principal) -> str:
        """Return the text of a new session of ``who``."""
        text = secrets.token_urlsafe(32)
        self._kept[_digest(text)] = who
        return text

    def find(self, text: str, operator: str = "") -> Principal | None:
        """Return who has the session; None when there is none, or its key is no good any more.

        ``operator`` is the owner that the configured key stands for, empty when there is none: then
        any text signs in, and such a session ends when the first key is made.
        """
        who = self._kept.get(_digest(text))
        if who is None:
            return None
        if who.key_id is None:
            is_good = who.owner == operator if operator else self._keyring.is_empty
            return who if is_good else None
        key = self._keyring.by_id(who.key_id)
        return key.principal() if key else None

    def end(self, text: str) -> None:
        """End the session, if there is one."""
        self._kept.pop(_digest(text), None)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
