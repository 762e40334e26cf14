"""Every way in which a request for a fine-tuning job can fail.

    JobFault
    ├── JobNotFound           there is no job, event or checkpoint with this id for the asker
    ├── JobRefused            the request has an impossible value, or comes at the wrong time
    │   └── JobUnsupported    OpenAI has it, and this server does not train in this way
    ├── TrainingImpossible    this server cannot train at all; the message says what it lacks
    ├── JobsFull              the tenant has as many unfinished jobs as it may have
    └── JobsUnavailable       the database or the disk cannot be read or written now

What is wrong with the rows of a file is in ``training.rows.faults``.
"""

_LONGEST_SHOWN = 100


class JobFault(Exception):
    """The base class; ``param`` names the field of the request when there is one."""

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class JobNotFound(JobFault):
    """Nothing of the asker has this id; what belongs to somebody else is reported alike."""

    def __init__(self, asked: str, what: str = "fine-tuning job", param: str = "id") -> None:
        shown = asked if len(asked) <= _LONGEST_SHOWN else f"{asked[:_LONGEST_SHOWN]}..."
        super().__init__(f"Could not find {what}: {shown}", param=param)


class JobRefused(JobFault):
    """The request has an impossible value, or the job is not in a state for it."""


class JobUnsupported(JobRefused):
    """OpenAI has this method or member; here it cannot be trained."""


class TrainingImpossible(JobFault):
    """This server cannot train; sending the request again cannot help."""


class JobsFull(JobFault):
    """A job must end before another one can come."""


class JobsUnavailable(JobFault):
    """The database or the disk cannot be read or written now, so nothing was changed."""
