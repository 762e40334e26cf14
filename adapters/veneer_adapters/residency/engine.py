"""What residency needs from an engine: a seam that the server implements."""

from pathlib import Path
from typing import Protocol

from veneer_adapters.catalog.proof import Effect


class AdapterEngine(Protocol):
    """The part of an engine that handles adapters. It never evicts an adapter by itself.

    Each call succeeds or raises. After a call raised, residency calls ``unload_adapter``, which
    must accept an id that is only half loaded or not there at all.
    """

    async def load_adapter(self, engine_id: int, engine_name: str, path: Path) -> None:
        """Read the verified files at ``path`` into a host slot and copy them into a device slot.

        Afterwards requests may name ``engine_name``.

        Raises:
            LoadFailed: the engine refused the adapter.
        """

    async def activate_adapter(self, engine_id: int) -> None:
        """Copy the adapter from its host slot into a device slot."""

    async def deactivate_adapter(self, engine_id: int) -> None:
        """Free the device slot; the host slot stays. No request may be using the adapter."""

    async def unload_adapter(self, engine_id: int) -> None:
        """Free the host slot and the device slot. No request may be using the adapter.

        Calling it twice is safe.
        """

    async def measure_effect(self, engine_id: int, engine_name: str) -> Effect:
        """Return what the adapter, which is in a device slot, does to a short greedy answer.

        This costs two requests side by side, each with about a dozen tokens in and four out. If the
        change is so small that it may be rounding, it costs up to eight times that. The requests
        queue like any others, so the caller must bound the wait. Nothing of them stays in the
        engine.

        Raises:
            LoadFailed: the adapter is not loaded.
        """
