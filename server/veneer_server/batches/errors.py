"""Every way in which a request for a batch can fail.

    BatchFault
    ├── BatchNotFound        there is no batch with this id that the asker may see
    ├── BatchRefused         the request has an impossible value
    ├── BatchesFull          the tenant has as many unfinished batches as it may have
    └── BatchesUnavailable   the database or the disk cannot be read or written now

What belongs to somebody else is reported exactly as what does not exist.
"""

_LONGEST_SHOWN = 100


class BatchFault(Exception):
    """The base class; ``param`` names the field of the request when there is one."""

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class BatchNotFound(BatchFault):
    """No batch has this id."""

    def __init__(self, batch_id: str) -> None:
        shown = batch_id if len(batch_id) <= _LONGEST_SHOWN else f"{batch_id[:_LONGEST_SHOWN]}..."
        super().__init__(f"No batch found with id '{shown}'.", param="batch_id")


class BatchRefused(BatchFault):
    """The request has an impossible value; sending it again cannot help."""


class BatchesFull(BatchFault):
    """A batch must end before another one can come."""


class BatchesUnavailable(BatchFault):
    """The database or the disk cannot be read or written now, so nothing was changed."""
