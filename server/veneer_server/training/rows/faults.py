"""What can be wrong with a training file, said so that the line can be found and changed.

TrainingFileError
├── InvalidTrainingFile   rows are wrong; ``faults`` says which, where and why
└── TooFewRows            it is right, but too short
"""

from collections.abc import Sequence
from dataclasses import dataclass

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Fault:
    """One reason why the file cannot be used."""

    line: int
    """The line in the file, from 1."""
    reason: str
    column: int | None = None
    """The character in the line, from 1, where the JSON is broken."""

    def __str__(self) -> str:
        column = f", column {self.column}" if self.column is not None else ""
        return f"Line {self.line}{column}: {self.reason}"


class InvalidRow(Exception):
    """A row cannot be used. ``column`` is set where the JSON is broken."""

    def __init__(self, reason: str, *, column: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.column = column


class TrainingFileError(Exception):
    """A training file cannot be used; the base class. ``code`` is OpenAI's word for it."""

    code = "invalid_training_file"
    param: str | None = None
    """The field of a request that names the file."""


class InvalidTrainingFile(TrainingFileError):
    """Rows of the file are wrong."""

    def __init__(self, faults: Sequence[Fault], *, more: int = 0) -> None:
        """``more`` is how many faults there are besides those that are listed."""
        self.faults = tuple(faults)
        self.more = more
        super().__init__(_summary(self.faults, more))


class TooFewRows(TrainingFileError):
    """The file has fewer rows than a job needs."""

    code = "invalid_n_examples"

    def __init__(self, rows: int, least: int) -> None:
        super().__init__(f"Training file has {rows} example(s), but must have at least {least}.")


class Faults:
    """Collects faults up to a number, and counts the others."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._found: list[Fault] = []
        self._more = 0

    def add(self, fault: Fault) -> None:
        """List the fault, or count it."""
        if len(self._found) < self._most:
            self._found.append(fault)
        else:
            self._more += 1

    def raise_any(self) -> None:
        """Return if there are none.

        Raises:
            InvalidTrainingFile: there are some.
        """
        if self._found:
            raise InvalidTrainingFile(self._found, more=self._more)


def _summary(faults: Sequence[Fault], more: int) -> str:
    shown = " ".join(f"{fault}." for fault in faults[:_SHOWN])
    hidden = len(faults) - _SHOWN + more if len(faults) > _SHOWN else more
    return f"Invalid training file. {shown}" + (f" And {hidden} more." if hidden else "")
