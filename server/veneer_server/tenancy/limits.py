"""How much somebody may use: a key, a tenant or everybody together. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one holder; None means that there is no such limit."""

    rpm: int | None = None
    """Requests per minute."""
    tpm: int | None = None
    """Tokens per minute, read and written together."""
    concurrency: int | None = None
    """Requests at the same time."""

    def __bool__(self) -> bool:
        return (self.rpm, self.tpm, self.concurrency) != (None, None, None)


UNLIMITED = Limits()
