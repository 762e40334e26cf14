"""What the errors of huggingface_hub mean for an adapter."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub import errors as hub
from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined] # its client's, any age

from veneer_adapters.errors import (
    AdapterError,
    MissingFile,
    SourceNotAllowed,
    SourceUnavailable,
    StorageFailed,
    quoted,
)
from veneer_adapters.sources.fetching import TryAgain
from veneer_adapters.sources.pauses import asked_pause_s

_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS})
_OFFLINE = "The Hub may not be asked, and this revision of {} is not in the cache."
# The first row that fits counts.
_MEANINGS: tuple[tuple[type[Exception], type[AdapterError], str], ...] = (
    (hub.OfflineModeIsEnabled, SourceUnavailable, _OFFLINE),
    (hub.LocalEntryNotFoundError, SourceUnavailable, _OFFLINE),
    (hub.GatedRepoError, SourceUnavailable, "The Hub refuses access to {}."),
    (hub.DisabledRepoError, SourceUnavailable, "The Hub refuses access to {}."),
    (hub.RepositoryNotFoundError, MissingFile, "The Hub has no {}, or does not show it."),
    (hub.RevisionNotFoundError, MissingFile, "The Hub has no such revision of {}."),
    (hub.EntryNotFoundError, MissingFile, "On the Hub, {} lacks the two files of an adapter."),
)


@contextmanager
def translated(repository: str) -> Iterator[None]:
    """Raise each error of the block as one of those that ``Fetcher.fetch`` may raise."""
    try:
        yield
    except hub.HFValidationError as error:
        raise SourceNotAllowed(f"{quoted(repository)} cannot be a name on the Hub.") from error
    except (HTTPError, OSError) as error:
        raise _meaning(error, repository) from error


def _meaning(error: BaseException, repository: str) -> AdapterError | TryAgain:
    if isinstance(error, hub.LocalEntryNotFoundError) and error.__cause__ is not None:
        return _meaning(error.__cause__, repository)
    for kind, leaf, sentence in _MEANINGS:
        if isinstance(error, kind):
            return leaf(sentence.format(quoted(repository)))
    if isinstance(error, hub.HfHubHTTPError):
        return _answered(error)
    if isinstance(error, OSError) and error.errno in _DISK:
        return StorageFailed("What the Hub sent could not be written to its cache.")
    return TryAgain("The connection to the Hub failed.")


def _answered(error: hub.HfHubHTTPError) -> SourceUnavailable | TryAgain:
    status = error.response.status_code
    sentence = f"The Hub answered with status {status}."
    if status not in _PASSING:
        return SourceUnavailable(sentence)
    pause_s = asked_pause_s(error.response.headers.get("retry-after", ""))
    return TryAgain(sentence, retry_after_s=pause_s)
