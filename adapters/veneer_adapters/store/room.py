"""What to remove from the store so that it keeps its quota. It only decides; it touches no file."""

from collections.abc import Callable, Collection

from veneer_adapters.errors import CacheFull
from veneer_adapters.store.inventory import Inventory


def usual_quota_bytes(stored_bytes: int, free_bytes: int) -> int:
    """Return four fifths of the room that there is for a store: its own content and the free disk.

    The rest is for what shares the disk: the catalog, copies that are being verified, logs. The
    quota stays the same while only the store itself grows.
    """
    return (stored_bytes + free_bytes) * 4 // 5


class Room:
    """The quota of one store, and what may be removed to keep it."""

    def __init__(
        self,
        inventory: Inventory,
        quota_bytes: int,
        needed: Callable[[], Collection[str]] | None,
    ) -> None:
        """Keep ``inventory`` within ``quota_bytes``.

        ``needed`` returns the digests that must stay; without it all must stay.
        """
        self._inventory = inventory
        self._quota_bytes = quota_bytes
        self._needed = needed or inventory.digests

    def choose_for(self, size_bytes: int) -> list[str]:
        """Return what to remove before content of ``size_bytes`` comes in.

        Raises:
            CacheFull: the quota would not be kept even then.
        """
        excess_bytes = self._excess_bytes(size_bytes)
        chosen = self.choose_to_free(excess_bytes)
        if self._inventory.weigh(chosen) < excess_bytes:
            raise CacheFull(
                f"There is no room for the adapter's {size_bytes} bytes: the store may hold"
                f" {self._quota_bytes} bytes, and the adapters in it are needed."
            )
        return chosen

    def choose_to_free(self, free_bytes: int) -> list[str]:
        """Return what to remove to free ``free_bytes``, or all that may be removed."""
        if free_bytes <= 0:
            return []
        # The holds are read first: a hold ends only after ``needed`` knows of the content.
        held = self._inventory.held()
        return self._inventory.choose_removed({*held, *self._needed()}, free_bytes)

    def _excess_bytes(self, more_bytes: int = 0) -> int:
        return self._inventory.total_bytes + more_bytes - self._quota_bytes
