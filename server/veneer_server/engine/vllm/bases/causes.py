"""Why an engine did not start, handed from vLLM's processes to the gateway through a file.

vLLM's processes print the reason as a traceback, and tell the gateway only that there was one. So
until the gateway has noted that the engine started, the first error goes into a file and not into
the log. Who asks vLLM for more than errors (``VLLM_LOGGING_LEVEL``) gets the traceback too.
"""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

_FILE, _STARTED = "cause.json", "started"
_LOGGERS = ("vllm.v1.engine.core", "vllm.v1.executor.multiproc_executor")
_GATEWAYS = ("vllm.model_executor.models.registry", "vllm.v1.engine.async_llm")
"""They log what a process that looks at a model says, and that the engine is gone."""
_LONGEST = 4000


@dataclass(frozen=True, slots=True)
class Cause:
    """An error of vLLM's: the name of its class, and what it says."""

    kind: str
    message: str
    reading: bool = False
    """Whether it came when vLLM read the files that describe the model, before its weights."""

    @classmethod
    def of(cls, error: BaseException, *, reading: bool = False) -> "Cause":
        """Return what is known of ``error``."""
        return cls(type(error).__name__, _text_of(error)[:_LONGEST], reading)


def _text_of(error: BaseException) -> str:
    # vLLM raises some errors as if they were lines of a log: a text with gaps, and what fills them.
    if len(error.args) > 1 and isinstance(error.args[0], str) and "%s" in error.args[0]:
        with suppress(TypeError, ValueError):
            return error.args[0] % error.args[1:]
    return str(error)


def read_cause(folder: Path) -> Cause | None:
    """Return the cause that a process of the engine noted in ``folder``, or None."""
    try:
        found = json.loads((folder / _FILE).read_text())
        return Cause(str(found["kind"]), str(found["message"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def note_started(folder: Path) -> None:
    """Leave later errors to vLLM's log."""
    (folder / _STARTED).touch()


def note_causes(folder: Path, *, is_core: bool) -> None:
    """Make vLLM in this process note in ``folder`` why it fails.

    ``is_core`` is true in the engine core, which ends with its first error.
    """
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_Noting(folder, is_core=is_core))


@contextmanager
def last_logged() -> Iterator[list[Cause]]:
    """Yield a list that gets the errors that vLLM logs in this process, in the block.

    Their tracebacks are not printed, unless somebody asks vLLM for more than errors.
    """
    loggers, logged = [logging.getLogger(name) for name in _GATEWAYS], _Collecting()
    for logger in loggers:
        logger.addFilter(logged)
    try:
        yield logged.causes
    finally:
        for logger in loggers:
            logger.removeFilter(logged)


class _Collecting(logging.Filter):
    """Takes the records that carry an error of another process."""

    def __init__(self) -> None:
        super().__init__()
        self.causes: list[Cause] = []

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is printed."""
        error = record.exc_info[1] if record.exc_info else None
        lines = str(error).strip().splitlines() if error else []
        if not lines:
            return True
        # The last line of a traceback is the error.
        kind, _, message = lines[-1].partition(": ")
        self.causes.append(Cause(kind, message))
        return logging.getLogger("vllm").getEffectiveLevel() < logging.ERROR


class _Noting(logging.Filter):
    """Takes the records that carry an error, as long as the engine starts."""

    def __init__(self, folder: Path, *, is_core: bool) -> None:
        super().__init__()
        self._folder = folder
        self._is_core = is_core

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is printed."""
        error = record.exc_info[1] if record.exc_info else None
        if error is None or (self._folder / _STARTED).exists():
            return True
        self._note(Cause.of(error))
        if logging.getLogger("vllm").getEffectiveLevel() < logging.ERROR:
            return True
        if self._is_core:
            # vLLM would raise the error again, and multiprocessing print it with its traceback.
            raise SystemExit(1)
        return False

    def _note(self, cause: Cause) -> None:
        # The first process to fail has the reason; the others only see that it failed.
        with suppress(OSError), (self._folder / _FILE).open("x") as file:
            file.write(json.dumps(asdict(cause)))
