"""Which adapters get a label value of their own, so that no metric grows without bound.

Rule: at most ``most`` names at a time have one, first come first served; the others share
``__other__``. A name keeps its value until it is gone from the catalog and its last request
has ended, so that what was counted up under a value is counted down under the same.
"""

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager

OTHER = "__other__"
"""The value of every name beyond the first ones; no adapter can be called so."""
MOST = 200


class AdapterLabels:
    """The values the ``adapter`` label may have at this moment."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._in_use: Counter[str] = Counter()
        self._own: set[str] = set()

    def value(self, name: str) -> str:
        """Return the value for ``name``, which gets its own while there are some left."""
        if name not in self._own:
            if len(self._own) >= self._most:
                return OTHER
            self._own.add(name)
        return name

    @contextmanager
    def held(self, name: str) -> Iterator[str]:
        """Give the value for ``name``, which stays what it is until the block ends."""
        value = self.value(name)
        self._in_use[value] += 1
        try:
            yield value
        finally:
            self._in_use[value] -= 1

    def retain(self, names: Collection[str]) -> set[str]:
        """Take the value from every name that is not among ``names`` nor held; return them."""
        gone = {name for name in self._own - set(names) if not self._in_use[name]}
        self._own -= gone
        for name in gone:
            del self._in_use[name]
        return gone
