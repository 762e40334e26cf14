"""One file as its row says; a value that nobody changes."""

import re
import secrets
from dataclasses import dataclass
from enum import StrEnum

_USABLE = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Purpose(StrEnum):
    """What a file is for. Source: ``OpenAIFile`` and ``CreateFileRequest`` of OpenAI's schema."""

    BATCH = "batch"
    EVALS = "evals"
    FINE_TUNE = "fine-tune"
    BATCH_OUTPUT = "batch_output"
    """The server makes it: what a batch answered."""
    FINE_TUNE_RESULTS = "fine-tune-results"
    """The server makes it: how a training went."""


UPLOADED = (Purpose.BATCH, Purpose.EVALS, Purpose.FINE_TUNE)
"""The purposes that an upload may have."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """What is known of a file beside its bytes."""

    id: str
    owner: str
    """Whose it is: a digest of the tenant or key; empty when there was no key."""
    number: int
    """Larger than that of every file that was there before."""
    filename: str
    purpose: str
    size_bytes: int
    created: int
    """In seconds since the epoch."""
    expires: int | None
    """When it goes, in seconds since the epoch; None means never."""
    digest: str
    """The sha256 of its bytes, as 64 hex digits."""


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list of files."""

    files: list[StoredFile]
    more: bool
    """Whether the list goes on after ``files``."""


def new_id() -> str:
    """Return an id for a file that nobody can guess."""
    return f"file-{secrets.token_hex(16)}"


def is_id(text: str) -> bool:
    """Return whether ``text`` can be an id at all, so that the database may be asked for it."""
    return _USABLE.fullmatch(text) is not None
