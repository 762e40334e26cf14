"""E3: an engine hangs while it starts; the gateway kills it, and tries again or ends."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest

from support import tiny
from support.serving import POLL_S, start_process

pytestmark = [pytest.mark.engine, pytest.mark.matrix, pytest.mark.timeout(600)]

START_S = 150
"""Longer than a start takes on a busy machine; a start that hangs costs the test so much."""
SHARED = "/dev/shm"  # noqa: S108 - looked at, not written


def environ(folder: Path, start_timeout_s: float) -> dict[str, str]:
    return {
        "VENEER_MODEL__PATH": str(tiny.model(folder / "tiny")),
        "VENEER_ENGINE__START_TIMEOUT_S": str(start_timeout_s),
        "VENEER_ENGINE__KV_CACHE_GIB": "1",
        "VENEER_STATE__DIR": str(folder / "state"),
        "VENEER_ADAPTERS__DIR": str(folder / "my-adapters"),
        "VENEER_ADAPTERS__DEVICE_SLOTS": "4",
        "VENEER_ADAPTERS__HOST_SLOTS": "8",
    }


def engine_of(gateway: psutil.Process) -> list[psutil.Process]:
    """Return an engine core and its worker, or [] while there is no worker.

    A worker is in the group of its engine core; one that was begun early is not yet.
    """
    for child in gateway.children():
        try:
            living = [p for p in child.children() if p.status() != psutil.STATUS_ZOMBIE]
            if workers := [p for p in living if os.getpgid(p.pid) == child.pid]:
                return [child, *workers]
        except (psutil.NoSuchProcess, ProcessLookupError):
            continue
    return []


def stop_in_its_start(gateway: psutil.Process, *, but: int = 0) -> tuple[psutil.Process, set[str]]:
    """Stop the worker of an engine core that is not ``but``; return the core and its memory."""
    ends_s = time.monotonic() + START_S
    while time.monotonic() < ends_s:
        engine = engine_of(gateway)
        if engine and engine[0].pid != but:
            engine[1].suspend()
            maps = Path(f"/proc/{engine[0].pid}/maps").read_text()
            return engine[0], set(re.findall(r"/(psm_\w+)", maps))
        time.sleep(POLL_S)
    raise AssertionError("no engine was started")


def until_ready(url: str, within_s: float) -> None:
    ends_s = time.monotonic() + within_s
    while httpx.get(f"{url}/readyz").status_code != 200:
        assert time.monotonic() < ends_s, "the server did not become ready"
        time.sleep(POLL_S)


def test_a_restart_that_hangs_is_killed_and_the_next_one_serves(tmp_path: Path) -> None:
    with start_process(tmp_path, environ=environ(tmp_path, START_S)) as served:
        assert served.process is not None
        assert served.log is not None
        gateway = psutil.Process(served.process.pid)
        [first, *_] = engine_of(gateway)
        first.kill()
        hanging, memory = stop_in_its_start(gateway, but=first.pid)
        assert memory
        assert psutil.wait_procs([hanging], timeout=START_S + 30)[1] == []
        until_ready(served.url, START_S + 30)
        assert memory.isdisjoint(os.listdir(SHARED))
        assert f"did not start within {START_S} s" in served.log.read_text()


def test_a_first_start_that_hangs_ends_the_server_with_70_and_a_sentence(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [Path(sys.executable).with_name("veneer"), "serve", "--port", "0"],
            env={**os.environ, **environ(tmp_path, START_S)},
            stderr=stderr,
        )
    try:
        hanging, memory = stop_in_its_start(psutil.Process(process.pid))
        assert process.wait(timeout=START_S + 30) == 70
    finally:
        process.kill()
        process.wait()
    assert f"Veneer cannot start: The engine did not start within {START_S} s." in log.read_text()
    assert "Traceback" not in log.read_text()
    assert not hanging.is_running()
    assert memory.isdisjoint(os.listdir(SHARED))
    assert not (tmp_path / "state" / "ENGINE").exists()
