"""Why a run ended without an adapter, in a word for programs and a sentence for people."""

import errno


class TrainingFailed(Exception):
    """The run cannot go on. ``code`` is one of those in docs/training.md."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def to_failure(error: Exception) -> TrainingFailed:
    """Return the failure that ``error`` is."""
    if isinstance(error, TrainingFailed):
        return error
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return TrainingFailed("disk_full", "The disk of the job's folder is full.")
    if isinstance(error, MemoryError) or _says_memory(error):
        return TrainingFailed("out_of_memory", "There is not enough memory to train this job.")
    return TrainingFailed(
        "server_error", f"The trainer failed ({type(error).__name__}); its log has more."
    )


def _says_memory(error: Exception) -> bool:
    # PyTorch raises RuntimeError on a CPU and its child OutOfMemoryError on a GPU.
    said = str(error).lower()
    return isinstance(error, RuntimeError) and (
        "out of memory" in said or "can't allocate memory" in said
    )
