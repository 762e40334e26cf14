"""What residency needs from an engine: a seam, implemented by the server."""

from pathlib import Path
from typing import Protocol

from veneer_adapters.catalog.proof import Effect


class AdapterEngine(Protocol):
    """An engine, as far as adapters are concerned. It never evicts by itself.

    Each call either succeeds or raises. After a raise the slot is cleaned by
    ``unload_adapter``, which must accept an id that is only half there or not there at all.
    """

    async def load_adapter(self, engine_id: int, engine_name: str, path: Path) -> None:
        """Read the verified files at ``path`` into a host slot and copy them into a device slot.

        Afterwards requests may name ``engine_name``.

        Raises:
            LoadFailed: the engine refused it.
        """

    async def activate_adapter(self, engine_id: int) -> None:
        """Copy the adapter from its host slot into a device slot."""

    async def deactivate_adapter(self, engine_id: int) -> None:
        """Free the device slot; the host copy stays. No request may be using the adapter."""

    async def unload_adapter(self, engine_id: int) -> None:
        """Free the host slot and the device slot. No request may be using the adapter.

        Doing it twice is safe.
        """

    async def measure_effect(self, engine_id: int, engine_name: str) -> Effect:
        """Return what the adapter, which is in a device slot, does to a short greedy answer.

        Costs two requests of a dozen tokens in and four out, side by side. Where the change is
        so small that it may be rounding, it costs up to eight times that. They queue like any
        others, so bound the wait. Nothing of them stays in the engine.

        Raises:
            LoadFailed: the adapter is not loaded.
        """
