"""The engine that all tests of a run share, lent to one server after the other."""

import itertools
from pathlib import Path
from typing import Any

from veneer_adapters.catalog.proof import Effect

_numbers = itertools.count(90_000)


class Lent:
    """The engine all tests share: it outlives the server it is lent to, whose ids count from 1."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self._numbers: dict[int, int] = {}
        self._digests: dict[int, str] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    async def load_adapter(self, engine_id: int, name: str, path: Path) -> None:
        number = self._numbers[engine_id] = next(_numbers)
        self._digests[number] = name.partition(":")[2]
        await self._engine.load_adapter(number, name, path)

    async def unload_adapter(self, engine_id: int) -> None:
        await self._engine.unload_adapter(self._numbers.pop(engine_id))

    async def measure_effect(self, engine_id: int, name: str) -> Effect:
        found: Effect = await self._engine.measure_effect(self._numbers[engine_id], name)
        return found

    def stop(self) -> None:
        """Leave it running."""

    async def unload_all(self) -> None:
        """Leave the engine as it was, although the server has ended."""
        for number in self._numbers.values():
            await self._engine.unload_adapter(number)

    async def on_device(self) -> set[str]:
        """Return the digests of what the worker itself says is in its device slots."""
        resident = (await self._engine.resident())["device"]
        return {digest for number, digest in self._digests.items() if number in resident}
