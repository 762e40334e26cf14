"""Where on this machine the server keeps things, and where adapters may come from."""

from pathlib import Path

from veneer_adapters.sources.base import Root
from veneer_server.settings import Settings


def roots(settings: Settings) -> tuple[Root, ...]:
    """Return the folders from which adapters may come, the writable one first."""
    own = Root(settings.adapters.dir, read_only=False)
    return own, *(Root(path, read_only=True) for path in settings.adapters.roots)


def store_folder(settings: Settings) -> Path:
    """Return the folder of the verified adapter files."""
    return settings.adapters.store or settings.state.dir / "store"


def files_folder(settings: Settings) -> Path:
    """Return the folder of the bytes that clients upload."""
    return settings.files.dir or settings.state.dir / "files"


def jobs_folder(settings: Settings) -> Path:
    """Return the folder of the fine-tuning jobs, as the trainer's process finds it."""
    return (settings.training.dir or settings.state.dir / "training").absolute()
