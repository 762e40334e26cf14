"""Which adapters get their own value of the ``adapter`` label, so that no metric grows forever.

Rule: at most ``most`` names have their own value at a time, first come first served. The other
names share ``__other__``. A name keeps its value until it is gone from the catalog and its last
request has ended, so that a gauge goes down under the same value under which it went up.
"""

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager

OTHER = "__other__"
"""The value of all names without their own; no adapter can have this name."""
MOST = 200
REQUEST_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
"""The buckets of what takes as long as a request, in seconds."""


class AdapterLabels:
    """The values that the ``adapter`` label has now."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._in_use: Counter[str] = Counter()
        self._own: set[str] = set()

    def value(self, name: str) -> str:
        """Return the value for ``name``: its own as long as there are free ones, else ``OTHER``."""
        if name not in self._own:
            if len(self._own) >= self._most:
                return OTHER
            self._own.add(name)
        return name

    @contextmanager
    def held(self, name: str) -> Iterator[str]:
        """Yield the value for ``name``; it stays the same until the block ends."""
        value = self.value(name)
        self._in_use[value] += 1
        try:
            yield value
        finally:
            self._in_use[value] -= 1

    def retain(self, names: Collection[str]) -> set[str]:
        """Free the values of all names that are not in ``names`` and not held; return them."""
        gone = {name for name in self._own - set(names) if not self._in_use[name]}
        self._own -= gone
        for name in gone:
            del self._in_use[name]
        return gone
