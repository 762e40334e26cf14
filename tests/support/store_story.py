"""What one process does with one store, in the order a server would, until a fault ends it.

Run in ``tests`` as ``python -m support.store_story <root> <sources> <quota> <fault>``; tests import
it too.
"""

import sys
from pathlib import Path

from support import storing
from veneer_adapters.faults import arm
from veneer_adapters.store.store import Store


def tell(store: Store, sources: Path) -> None:
    """Store three adapters where two have room, use one, remove, and store the first again."""
    for name in ("a", "b"):
        digest, _ = storing.put(store, sources / name)
        store.release(digest)
    store.used(storing.put(store, sources / "a")[0])
    digest, _ = storing.put(store, sources / "c")  # b goes
    store.release(digest)
    digest, _ = storing.put(store, sources / "b")  # c goes, for a is held
    store.release(digest)


if __name__ == "__main__":
    root, sources, quota, fault = sys.argv[1:]
    opened = Store(Path(root), quota_bytes=int(quota), needed=frozenset)
    arm(fault)
    tell(opened, Path(sources))
