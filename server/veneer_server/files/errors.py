"""Every way in which a request for a file can fail.

    FileFault
    ├── FileNotFound       there is no file with this id that the asker may see
    ├── FileRefused        the upload or the query has an impossible value
    ├── FileTooLarge       the file is larger than a file may be
    ├── FilesFull          the tenant has as many files, or as many bytes of them, as it may have
    ├── UploadsFull        as many uploads run as may at the same time
    ├── DiskFull           there is no room on the disk
    └── FilesUnavailable   the database or the disk cannot be read or written now

What belongs to somebody else is reported exactly as what does not exist.
"""

_LONGEST_SHOWN = 100


def short_id(text: str) -> str:
    """Return an id as a client wrote it, at most 100 characters of it."""
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


class FileFault(Exception):
    """The base class; ``param`` names the field of the request when there is one."""

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class FileNotFound(FileFault):
    """No file has this id."""

    def __init__(self, file_id: str, *, param: str = "id") -> None:
        super().__init__(f"No such File object: {short_id(file_id)}", param=param)


class FileRefused(FileFault):
    """The upload or the query has an impossible value; sending it again cannot help."""


class FileTooLarge(FileFault):
    """The file is larger than ``files.max_bytes``."""


class FilesFull(FileFault):
    """A file must go before another one can come."""


class UploadsFull(FileFault):
    """As many uploads run as may; one more may run later."""


class DiskFull(FileFault):
    """There is no room on the disk; nothing was kept."""


class FilesUnavailable(FileFault):
    """The database or the disk cannot be read or written now, so nothing was changed."""
