"""``python -m veneer_server.training.child JOB_DIR``: trains the job in a folder, to its end.

Exit codes: 0 done or paused (``result.json`` says which), 1 failed, 75 another trainer has the
folder, 78 ``job.json`` cannot be used.
"""

import fcntl
import os
import sys
import traceback
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import IO

from veneer_server.training.child.failures import TrainingFailed, to_failure
from veneer_server.training.child.stopping import Stopper
from veneer_server.training.child.surroundings import environment, yield_to_others
from veneer_server.training.events import EventLog
from veneer_server.training.folder import PAUSED, JobFolder, replace_json
from veneer_server.training.job import Job, JobUnusable

FAILED, TAKEN, UNUSABLE = 1, os.EX_TEMPFAIL, os.EX_CONFIG


def main(arguments: Sequence[str]) -> int:
    """Train the job in the one folder that ``arguments`` name; return the exit code."""
    if len(arguments) != 1:
        return _end(UNUSABLE, "usage: python -m veneer_server.training.child JOB_DIR")
    path = Path(arguments[0]).resolve()
    try:
        job = Job.read(path)
        lock = _locked(JobFolder(path))
    except JobUnusable as error:
        return _end(UNUSABLE, str(error))
    except BlockingIOError:
        return _end(TAKEN, "Another trainer works in this folder.")
    with lock:
        return _train(job, JobFolder(path))


def _locked(folder: JobFolder) -> IO[str]:
    """Return the open lock of the folder; it ends with this process, however that ends."""
    lock = folder.lock.open("w")
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return lock


def _train(job: Job, folder: JobFolder) -> int:
    folder.result.unlink(missing_ok=True)
    stopper = Stopper(partial(replace_json, folder.result, PAUSED))
    stopper.watch()
    folder.checkpoints.mkdir(exist_ok=True)
    log = EventLog(folder.events)
    os.environ.update(environment(job.means))
    for refused in yield_to_others(job.means):
        log.say(f"The trainer cannot yield to others ({refused})", level="warn")
    try:
        ended = _run(job, folder, log, stopper)
    except Exception as error:  # the end of the process: whatever it is, the job has failed
        traceback.print_exc()
        with stopper.steady:
            stopper.pause = _stay
            return _fail(folder, log, to_failure(error))
    with stopper.steady:
        stopper.pause = _stay
        replace_json(folder.result, ended)
        log.say("The trainer has reached the last step")
    return 0


def _run(job: Job, folder: JobFolder, log: EventLog, stopper: Stopper) -> dict[str, object]:
    # Not before the environment is set: PyTorch reads it when it is imported.
    import torch

    from veneer_server.training.child.loop import Loop

    torch.set_num_threads(job.means.threads)
    ended = Loop(job, folder, log, stopper).run()
    return {
        "outcome": "succeeded",
        "step": ended.step,
        "trained_tokens": ended.trained_tokens,
        "metrics": ended.metrics,
    }


def _stay() -> None:
    """The run has ended; a signal that comes now changes nothing."""


def _fail(folder: JobFolder, log: EventLog, failure: TrainingFailed) -> int:
    code = _end(FAILED, failure.message)  # first: with a full disk it is all that can be said
    shown = {"code": failure.code, "message": failure.message, "param": None}
    replace_json(folder.result, {"outcome": "failed", "error": shown})
    log.say(failure.message, level="error")
    return code


def _end(code: int, message: str) -> int:
    sys.stderr.write(message + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
