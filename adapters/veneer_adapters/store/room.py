"""Who has to leave the store so that it keeps its quota: decisions only, no file is touched."""

from collections.abc import Callable, Collection

from veneer_adapters.errors import CacheFull
from veneer_adapters.store.inventory import Inventory


class Room:
    """The quota of one store, and what may be removed to keep it."""

    def __init__(
        self,
        inventory: Inventory,
        quota_bytes: int | None,
        needed: Callable[[], Collection[str]] | None,
    ) -> None:
        """Keep what is in ``inventory`` below ``quota_bytes``, if that is a number.

        ``needed`` returns the digests that must stay; without it all must.
        """
        self._inventory = inventory
        self._quota_bytes = quota_bytes
        self._needed = needed or inventory.digests

    def choose_for(self, size_bytes: int) -> list[str]:
        """Return what must go before ``size_bytes`` more come.

        Raises:
            CacheFull: even then the quota would not be kept.
        """
        excess_bytes = self._excess_bytes(size_bytes)
        chosen = self.choose_to_free(excess_bytes)
        if self._inventory.weigh(chosen) < excess_bytes:
            raise CacheFull(
                f"There is no room for the adapter's {size_bytes} bytes: the store may hold"
                f" {self._quota_bytes}, and what it holds is needed."
            )
        return chosen

    def choose_to_free(self, free_bytes: int) -> list[str]:
        """Return what must go to free ``free_bytes``, or all that may go."""
        if free_bytes <= 0:
            return []
        # Before asking what is needed: whoever lets go of a hold has written the need down.
        held = self._inventory.held()
        return self._inventory.choose_removed({*held, *self._needed()}, free_bytes)

    def _excess_bytes(self, more_bytes: int = 0) -> int:
        if self._quota_bytes is None:
            return 0
        return self._inventory.total_bytes + more_bytes - self._quota_bytes
