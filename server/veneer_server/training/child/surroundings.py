"""What the trainer gives up, so that the server beside it does not notice it."""

import os
from pathlib import Path

from veneer_server.training.job import Means

_FIRST_TO_DIE = "1000"
_AUTOGROUP = Path("/proc/self/autogroup")
_LITTLE_WEIGHT = "6"
"""Of a session, as a nice value. With 8 a job makes a step in two minutes beside two users, with 5
their gaps grow by 40 %, with 6 by 11 % (tests/bench/LOG.md)."""


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

    Where memory ends, the system ends this process first. A session that only this process leads
    yields as a whole; that of whoever started the process by hand is left alone.
    """
    steps = {"oom_score_adj": _die_first}
    if means.idle:
        steps["SCHED_IDLE"] = _run_when_idle
        steps["autogroup"] = _weigh_little
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


def _weigh_little() -> None:
    # Linux shares the CPU among sessions first (sched_autogroup), and inside them among threads: in
    # a session of its own the idle class counts for nothing against the server.
    if os.getsid(0) == os.getpid() and _AUTOGROUP.exists():
        _AUTOGROUP.write_text(_LITTLE_WEIGHT)
