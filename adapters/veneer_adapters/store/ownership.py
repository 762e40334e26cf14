"""Which catalog names the content of a store: the store keeps the identity of that catalog.

A catalog that is gone would otherwise go unnoticed. An empty one would take its place and give the
numbers of lost revisions to other content.
"""

import os
from pathlib import Path

from veneer_adapters.errors import StorageFailed

OWNER_FILE = "CATALOG"
"""A file in the store's folder: the identity of the catalog that last used the store."""


def owner_of(root: Path) -> str | None:
    """Return the identity of the catalog that last used the store, or None if none is known."""
    try:
        return (root / OWNER_FILE).read_text(encoding="utf-8", errors="replace").strip() or None
    except OSError:
        return None


def has_content(root: Path) -> bool:
    """Return whether anything is stored in the folder ``root``."""
    return next((root / "sha256").glob("??/*"), None) is not None


def set_owner(root: Path, catalog: str) -> None:
    """Write down that ``catalog`` uses the store at ``root``, made if missing.

    Raises:
        StorageFailed: it cannot be written.
    """
    if owner_of(root) == catalog:
        return
    draft = root / f".{OWNER_FILE}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        with draft.open("w", encoding="utf-8") as file:
            file.write(f"{catalog}\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(root / OWNER_FILE)
    except OSError as error:
        what = error.strerror or "it cannot be written"
        raise StorageFailed(f"The folder of verified adapters cannot be used: {what}.") from error
