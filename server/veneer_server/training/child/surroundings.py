"""What the trainer gives up, so that the server beside it does not notice it."""

import os
from pathlib import Path

from veneer_server.training.job import Means

_FIRST_TO_DIE = "1000"


def environment(means: Means) -> dict[str, str]:
    """Return the variables that PyTorch and its libraries read when they are imported."""
    threads = str(means.threads)
    return {
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "OMP_WAIT_POLICY": "PASSIVE",  # a thread that waits gives its core away
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
    }


def yield_to_others(means: Means) -> list[str]:
    """Let the calling thread, and those it starts, run after all others; return what failed.

    Where memory ends, the system ends this process first.
    """
    steps = {"oom_score_adj": _die_first}
    if means.idle:
        steps["SCHED_IDLE"] = _run_when_idle
    refused = []
    for name, step in steps.items():
        try:
            step()
        except OSError as error:
            refused.append(f"{name}: {error.strerror}")
    return refused


def _die_first() -> None:
    Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_DIE)


def _run_when_idle() -> None:
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
