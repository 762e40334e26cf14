"""Which name an adapter has, from the names of the folders that lead to it.

    pirate                              pirate
    team/pirate                         team/pirate
    saves/SmolLM2/lora/run-1            saves/SmolLM2.lora.run-1
    models--acme--tone/snapshots/<sha>  acme/tone          a cache of the Hugging Face Hub

No I/O. Different folders get different names, except where a name itself has a dot.
"""

from collections.abc import Mapping, Sequence

_CACHE = "models--"
_SNAPSHOTS = "snapshots"


def adapter_name(folders: Sequence[str]) -> str:
    """Return the name of the adapter that lies at ``folders``, the first one directly in a root.

    The name may be one that no adapter can have.
    """
    first, *below = _without_cache(folders)
    return f"{first}/{'.'.join(below)}" if below else first


def holds_snapshots(folders: Sequence[str]) -> bool:
    """Return whether ``folders`` lead to the snapshots of one repository in a cache of the Hub."""
    return len(folders) > 1 and folders[-1] == _SNAPSHOTS and folders[-2].startswith(_CACHE)


def current(snapshots: Mapping[str, float], main: str) -> str:
    """Return the snapshot that ``main`` names, or else the newest.

    ``snapshots`` has when each was made, in any unit; there is at least one.
    """
    return main if main in snapshots else max(snapshots, key=lambda name: (snapshots[name], name))


def _without_cache(folders: Sequence[str]) -> Sequence[str]:
    for depth in range(len(folders), 1, -1):
        if holds_snapshots(folders[:depth]):
            repository = folders[depth - 2].removeprefix(_CACHE).split("--")
            # Behind the folder of the snapshots comes the snapshot; neither says what is in it.
            return [*repository, *folders[depth + 1 :]]
    return folders
