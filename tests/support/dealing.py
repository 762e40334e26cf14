"""Which process of pytest-xdist runs which tests, where some of them share an engine.

CORES=apart, as ``make test`` runs the engine's tests: a process has all tests of an engine, and its
part of the cores, so that no engine waits for another one's threads. ``--dist loadgroup``, as
``make faults``: each test for itself (pytest-xdist 3.8 loses its groups under pytest 9.2).
"""

import os
from pathlib import PurePosixPath
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

ENGINES = {
    "tests/conformance": "engine_server",
    "tests/engine/served": "engine_server",
    "tests/engine": "vllm_engine",
}
"""Folders whose tests share an engine; elsewhere it is a file's."""
TOGETHER = {"tests/faults/test_loads.py"}
"""Of the files whose tests run each for itself, those whose tests share what they know."""


class _ByEngine(LoadFileScheduling):
    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return ENGINES.get(str(PurePosixPath(file).parent), file)


class _EachForItself(LoadFileScheduling):
    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return file if file in TOGETHER else nodeid


def scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling | None:
    """Return who deals out this run's tests; None leaves it to ``--dist``."""
    if _apart():
        return _ByEngine(config, log)
    return _EachForItself(config, log) if config.getvalue("dist") == "loadgroup" else None


def take_a_share_of_the_cores(config: pytest.Config) -> None:
    """Leave this process, and all it starts, its part of the cores, where CORES=apart."""
    worker = getattr(config, "workerinput", None)
    if worker is not None and _apart():
        number = int(worker["workerid"].removeprefix("gw"))
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[number :: worker["workercount"]] or cores)


def _apart() -> bool:
    return os.environ.get("CORES") == "apart"
