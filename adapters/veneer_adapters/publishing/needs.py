"""Which ranks the adapters have that can be asked for: those of the catalog, and those in folders.

The engine's slots get their rank when it starts, which is before any folder is verified. So the
rank of what lies in a folder is read from its ``adapter_config.json`` alone. Whether the adapter
can be served is decided later.
"""

import time
from collections.abc import Sequence

from veneer_adapters.artifact.config import MAX_CONFIG_BYTES, parse_config
from veneer_adapters.artifact.files import CONFIG_FILE
from veneer_adapters.artifact.opening import open_folder, resolved
from veneer_adapters.catalog.snapshot import Snapshot
from veneer_adapters.errors import AdapterError
from veneer_adapters.lifecycle import State
from veneer_adapters.sources.base import Root
from veneer_adapters.sources.folders.scan import Scanner
from veneer_adapters.sources.folders.settling import Seen

_MOST_FOLDERS = 1000
"""Most folders of which the rank is read, so that no start waits long for this."""


def ranks_of(catalog: Snapshot, roots: Sequence[Root]) -> list[int]:
    """Return the largest rank of each adapter that is known or lies in a folder. Blocks.

    An adapter whose rank cannot be read is left out.
    """
    ranks = {adapter.name: _kept(catalog, adapter.name) for adapter in catalog.adapters()}
    for name, found in _in_folders(roots)[:_MOST_FOLDERS]:
        ranks[name] = max(ranks.get(name, 0), _read(found))
    return [rank for rank in ranks.values() if rank]


def _kept(catalog: Snapshot, name: str) -> int:
    try:
        revisions = catalog.revisions(name)
    except AdapterError:
        return 0  # no content of this name was ever accepted
    return max((r.manifest.rank for r in revisions if r.state is not State.FAILED), default=0)


def _in_folders(roots: Sequence[Root]) -> list[tuple[str, Seen]]:
    scanner = Scanner([root.resolved() for root in roots])
    scanner.scan()
    return list(scanner.seen(time.time())[0].items())


def _read(found: Seen) -> int:
    try:
        with (
            open_folder(resolved(found.folder), resolved(found.root.path)) as folder,
            folder.open(CONFIG_FILE) as file,
        ):
            return parse_config(file.read(MAX_CONFIG_BYTES + 1)).max_rank
    except (AdapterError, OSError):
        return 0
