"""Open what lies in a folder that is not trusted, and nothing outside it.

A path is first resolved. Then each folder on the way is opened from the one above it, and the file
from its folder, and none of these steps follows a link. Whoever exchanges one of them for a link
meanwhile causes a refusal; no other content is read.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from veneer_adapters.errors import PathNotAllowed, SourceChanging, quoted

# NONBLOCK, because opening a pipe would otherwise wait for its writer for ever.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC
_EXCHANGED = {errno.ELOOP, errno.ENOTDIR, errno.ENOENT, errno.ENXIO}
"""How the system answers when something else lies where a regular file or a folder just lay."""
_NO_PATH = {errno.ELOOP, errno.ENAMETOOLONG}
_CHANGED = "The adapter's files changed while they were opened."


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True, slots=True)
class OpenFolder:
    """A folder below a root, both held open: whatever their paths mean later, it is the same."""

    path: Path
    root: Path
    """Both resolved; links may lead to files anywhere in the root."""
    _descriptor: int
    _root_descriptor: int

    @property
    def descriptors(self) -> tuple[int, int]:
        """The descriptors of the folder and of its root, for a process that gets both."""
        return self._descriptor, self._root_descriptor

    def names(self) -> list[str]:
        """Return the names of all that lies in the folder."""
        return os.listdir(self._descriptor)

    def open(self, name: str) -> BinaryIO:
        """Return the regular file ``name``, open. Never waits for the writer of a pipe.

        Raises:
            PathNotAllowed: it is not a regular file, or a link that leaves the root.
            SourceChanging: it was exchanged for something else at this moment.
            OSError: it cannot be opened.
        """
        found = os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)
        if not stat.S_ISLNK(found.st_mode):
            return _open_regular(name, self._descriptor, name)
        *folders, last = _way(self.root, self.path / name) or ["."]
        with _walked(self._root_descriptor, folders) as folder:
            return _open_regular(last, folder, name)


Place = Path | OpenFolder
"""A folder by its path, or one that is held open: nobody can exchange that for another."""


def names_in(folder: Place) -> list[str]:
    """Return the names of all that lies in ``folder``."""
    return folder.names() if isinstance(folder, OpenFolder) else os.listdir(folder)


@contextmanager
def open_folder(folder: Path, root: Path) -> Iterator[OpenFolder]:
    """Give the folder ``folder`` of ``root``, which is resolved, open.

    Raises:
        PathNotAllowed: the path leaves the root, or is none.
        SourceChanging: a folder on the way was exchanged for something else at this moment.
        OSError: it cannot be opened.
    """
    names = _way(root, folder)
    with _closing(_open(str(root), _FOLDER)) as above, _walked(above, names) as descriptor:
        yield OpenFolder(root.joinpath(*names), root, descriptor, above)


def open_inside(folder: Place, name: str) -> BinaryIO:
    """Return the regular file ``name`` of ``folder``, open. Never waits for the writer of a pipe.

    Raises:
        PathNotAllowed: it is not a regular file, or a link that leaves ``folder``, or its root if
            the folder is open.
        SourceChanging: it was exchanged for something else at this moment.
        OSError: it cannot be opened.
    """
    if isinstance(folder, OpenFolder):
        return folder.open(name)
    itself = resolved(folder)
    with open_folder(itself, itself) as opened:
        return opened.open(name)


def resolved(path: Path) -> Path:
    """Return ``path`` without links.

    Raises:
        PathNotAllowed: it is no path that could ever be opened.
        SourceChanging: a link was exchanged for something else at this moment.
        OSError: there is nothing, or it cannot be looked at.
    """
    try:
        path.stat()  # The system's own limits hold first: 40 links, 255 bytes in a name.
        return Path(os.path.realpath(path, strict=True))
    except OSError as error:
        if error.errno == errno.EINVAL:  # It was a link, and something else when it was read.
            raise SourceChanging(_CHANGED) from error
        if error.errno not in _NO_PATH:
            raise
        raise PathNotAllowed("The path is too long, or its links lead in a loop.") from error
    except (ValueError, RuntimeError) as error:
        raise PathNotAllowed("The path cannot be the path of a file.") from error


def _way(root: Path, path: Path) -> Sequence[str]:
    target = resolved(path)
    if not target.is_relative_to(root):
        raise PathNotAllowed(f"{quoted(path.name)} leaves the folder that it must stay in.")
    return target.relative_to(root).parts


@contextmanager
def _walked(start: int, names: Sequence[str]) -> Iterator[int]:
    with ExitStack() as opened:
        for name in names:
            start = opened.enter_context(_closing(_open(name, _FOLDER, start)))
        yield start


@contextmanager
def _closing(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _open_regular(name: str, folder: int, shown: str) -> BinaryIO:
    # Looked at before it is opened too, because opening a device can have an effect.
    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    descriptor = _open(name, _FILE, folder) if stat.S_ISREG(found.st_mode) else None
    if descriptor is not None and stat.S_ISREG(os.fstat(descriptor).st_mode):
        return os.fdopen(descriptor, "rb")
    if descriptor is not None:
        os.close(descriptor)
    raise PathNotAllowed(f"{quoted(shown)} is not a regular file.")


def _open(name: str, flags: int, folder: int | None = None) -> int:
    try:
        return os.open(name, flags, dir_fd=folder)
    except OSError as error:
        if error.errno not in _EXCHANGED:
            raise
        raise SourceChanging(_CHANGED) from error
