"""The two files of an adapter as somebody uploads them, in a folder that ends with the upload."""

import os
from pathlib import Path

from veneer_adapters.artifact.config import MAX_CONFIG_BYTES
from veneer_adapters.artifact.files import CONFIG_FILE, FILES
from veneer_adapters.errors import MissingFile, StorageFailed, TooLarge


class Upload:
    """What has come of one upload. Its methods block: call them in a thread."""

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        """Keep at most ``max_bytes`` in ``folder``, which is there and empty."""
        self.folder = folder
        self.max_bytes = max_bytes
        self._sizes = dict.fromkeys(FILES, 0)

    def write(self, name: str, part: bytes) -> None:
        """Add a part to the file ``name``, one of ``FILES``; an empty part makes the file.

        Raises:
            TooLarge: with it the files are larger than they may be.
            StorageFailed: it cannot be written.
        """
        self._sizes[name] += len(part)
        if self._sizes[CONFIG_FILE] > MAX_CONFIG_BYTES:
            raise TooLarge(f"{CONFIG_FILE} is larger than {MAX_CONFIG_BYTES} bytes.")
        if sum(self._sizes.values()) > self.max_bytes:
            raise too_large(self.max_bytes)
        try:
            with (self.folder / name).open("ab") as file:
                file.write(part)
        except OSError as error:
            what = os.strerror(error.errno or 0)
            raise StorageFailed(f"The uploaded files could not be stored: {what}.") from error

    def require_whole(self) -> None:
        """Return when both files have come.

        Raises:
            MissingFile: one has not.
        """
        missing = [name for name in FILES if not (self.folder / name).exists()]
        if missing:
            raise MissingFile(f"There is no {missing[0]} among the uploaded files.")


def too_large(max_bytes: int) -> TooLarge:
    """Return the error of an upload that is larger than ``max_bytes``."""
    return TooLarge(f"The uploaded files are larger than the allowed {max_bytes} bytes.")
