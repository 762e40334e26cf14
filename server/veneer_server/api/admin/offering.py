"""Under which names, and from which folders, a key may publish."""

import os
from collections.abc import Iterable
from pathlib import Path

from veneer_adapters.publishing.intake import source_of
from veneer_server.api.deps import Server
from veneer_server.tenancy.errors import NotOwned
from veneer_server.tenancy.principals import Principal


def require_offer(who: Principal, server: Server, name: str, location: str) -> None:
    """Return when ``who`` may publish what is at ``location`` under ``name``.

    Raises:
        NotOwned: the name or the folder is another tenant's, or the operator's.
        AdapterRejected: adapters cannot come from such a place.
    """
    who.require_owner(name)
    require_location(who, server, location)


def require_location(who: Principal, server: Server, location: str) -> None:
    """Return when ``who`` may have what is at ``location`` read; raises as ``require_offer``."""
    if who.tenant is None or source_of(location).kind != "path":
        return
    adapters = server.settings.adapters
    if not _is_inside(location, (adapters.dir, *adapters.roots), who.tenant):
        raise NotOwned(
            f"Your key may publish from the folder {who.tenant} inside the server's adapter"
            " folders, and from URLs; not from other folders."
        )


def _is_inside(location: str, roots: Iterable[Path], tenant: str) -> bool:
    # Only the text is compared: whether a link leads out of a root is found out when it is opened.
    folder = Path(os.path.abspath(location))
    return any(folder.is_relative_to(Path(os.path.abspath(root)) / tenant) for root in roots)
