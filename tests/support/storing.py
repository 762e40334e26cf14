"""What tests ask of a store beside what the server asks."""

from pathlib import Path

from veneer_adapters.store.store import Store


def put(store: Store, folder: Path) -> tuple[str, Path]:
    """Keep the artifact in ``folder`` unverified; return its digest and where it is stored."""
    received = store.receive(folder)
    try:
        return received.digest, store.keep(received)
    finally:
        store.discard(received)


def has(store: Store, digest: str) -> bool:
    """Return whether the content with ``digest`` lies in ``store``."""
    return store.path(digest).is_dir()
