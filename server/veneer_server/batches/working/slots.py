"""Which line is next, so that batches leave most slots to the adapters of live traffic."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable

from veneer_server.batches.ordering import choose


class Slots:
    """The models that lines of all batches use now. For one event loop."""

    def __init__(self, is_warm: Callable[[str], bool], most_cold: int) -> None:
        """Let lines use at most ``most_cold`` models at a time of which ``is_warm`` is false."""
        self._is_warm = is_warm
        self._most_cold = most_cold
        self._cold: Counter[str] = Counter()
        self._changed = asyncio.Event()

    def take(self, models: Iterable[str]) -> int | None:
        """Return the position in ``models`` of the line to begin, None when none may begin now.

        Call ``give_back`` with its model when it has ended.
        """
        known = list(models)
        position = choose(known, self._cold, self._is_warm, self._most_cold)
        if position is not None:
            model = known[position]
            if model in self._cold or not self._is_warm(model):
                self._cold[model] += 1
        return position

    def give_back(self, model: str) -> None:
        """Note that a line of ``model`` has ended."""
        if model in self._cold:
            self._cold[model] -= 1
            self._cold += Counter()  # forget what nobody uses
        self.notify()

    def notify(self) -> None:
        """Let everybody look again who waits for a change."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def changed(self) -> None:
        """Return when ``take`` may have another answer than a moment ago."""
        await self._changed.wait()
