"""The kernel on the threads that torch computes with.

Threads of our own would compete with torch's, which spin while they wait for the next operator:
that made prompts slower. numba's OpenMP layer uses the OpenMP library that the process has loaded
already, which is torch's, so there is one set of threads. tests/bench/LOG.md has the figures of
both, of 2026-11-28.
"""

import ctypes
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
from vllm.logger import init_logger

from veneer_server.engine.stages import Stage
from veneer_server.engine.vllm.lora.layer import STORED, as_stored
from veneer_server.engine.vllm.startup.reports import report

logger = init_logger("vllm.veneer.lora")  # a worker shows only the loggers under "vllm"

Kernel = Callable[..., None]
"""Add ``B A x``, with each row's own adapter, to ``y``: ``(y, x, rows, runs, ranks, a, b)``."""

SHARED_ROWS = 8
"""From how many rows on threads share the work. With fewer it costs what it saves."""


def find_kernel(rows: torch.dtype | None, weights: torch.dtype | None) -> Kernel | None:
    """Return the kernel, compiled for ``rows`` of a batch and for ``weights`` if it can be.

    Return None, and write a line to the log, if numba cannot be imported.
    """
    try:
        from veneer_server.engine.vllm.lora.kernel import add_part, add_shared_delta, warm_up
    except ImportError as error:
        logger.warning("no compiled LoRA kernel, so adapters run several times slower: %s", error)
        return None
    threads = _join_torch()
    if rows in STORED and weights in STORED:
        report(Stage.KERNELS)
        warm_up(_numpy_dtype(rows), _numpy_dtype(weights), threads)
        report(Stage.WEIGHTS)

    def add_delta(y: Any, x: Any, rows: Any, runs: Any, ranks: Any, a: Any, b: Any) -> None:
        if threads > 1 and len(rows) >= SHARED_ROWS:
            add_shared_delta(y, x, rows, runs, ranks, a, b, threads)
        else:
            add_part(y, x, rows, runs, ranks, a, b, (0, len(rows)))

    return add_delta


def _numpy_dtype(dtype: torch.dtype) -> Any:
    return as_stored(torch.empty(0, dtype=dtype)).dtype


def _join_torch() -> int:
    """Make this thread share compiled loops with torch's threads; return how many they are.

    Return 1, and write a line to the log, where numba cannot use OpenMP.
    """
    import numba

    threads = torch.get_num_threads()
    numba.config.THREADING_LAYER = "omp"
    try:
        numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
    except ValueError as error:
        logger.warning("adapters are computed by one thread, for lack of libgomp1: %s", error)
        return 1
    finally:
        # numba tells OpenMP, and so torch, how many threads it was set up for itself, and lets
        # threads start more threads, of which MKL makes use inside torch's loops.
        torch.set_num_threads(threads)
        _forbid_nested_threads()
    return int(numba.get_num_threads())


def _forbid_nested_threads() -> None:
    with suppress(OSError):  # where there is none, numba has found none either
        ctypes.CDLL("libgomp.so.1").omp_set_max_active_levels(1)  # torch's, loaded already
