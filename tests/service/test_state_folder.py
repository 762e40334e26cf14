"""One state folder, two servers, sudden deaths: as an operator meets them."""

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from click.testing import Result
from typer.testing import CliRunner

from support import builders
from support.serving import POLL_S, start_process
from veneer_adapters.faults import disarm
from veneer_server.commands.main import app

PROGRAM = [str(Path(sys.executable).with_name("veneer")), "serve", "--engine", "echo"]
NEAR_S = 60
"""Bound on a dropped folder being noticed and stored, on a busy machine."""


def serve(folder: Path) -> subprocess.CompletedProcess[str]:
    """Start a server that is expected to end by itself."""
    variables = {
        **os.environ,
        "VENEER_STATE__DIR": str(folder / "state"),
        "VENEER_ADAPTERS__DIR": str(folder / "my-adapters"),
    }
    return subprocess.run(
        [*PROGRAM, "--port", "0"],
        capture_output=True, text=True, env=variables, timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_a_second_server_on_one_state_folder_ends_with_75_and_the_first_serves_on(
    tmp_path: Path,
) -> None:
    with start_process(tmp_path, flags=["--engine", "echo"]) as first:
        second = serve(tmp_path)
        assert second.returncode == 75
        assert first.process is not None
        [sentence] = [line for line in second.stderr.splitlines() if "cannot start" in line]
        assert f"(process {first.process.pid})" in sentence
        assert "state.dir" in sentence
        assert "Traceback" not in second.stderr
        assert httpx.get(f"{first.url}/readyz", timeout=10).status_code == 200


@pytest.mark.slow
def test_a_state_folder_that_cannot_be_used_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    done = serve(tmp_path)
    assert done.returncode == 78
    assert "(setting state.dir) cannot be used: " in done.stderr
    assert "Traceback" not in done.stderr


def start(folder: Path, faults: str, *flags: str) -> Result:
    """Start a server in this process that is expected to refuse it."""
    environ = {"VENEER_FAULTS": faults, "VENEER_STATE__DIR": str(folder / "state")}
    return CliRunner().invoke(app, ["serve", "--engine", "echo", *flags], env=environ)


def test_faults_are_refused_without_the_flag_that_allows_them(tmp_path: Path) -> None:
    refused = start(tmp_path, "store.rename:1:kill")
    assert refused.exit_code == 78
    assert "for tests only" in refused.stderr
    assert not (tmp_path / "state").exists()


def test_a_fault_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    try:
        refused = start(tmp_path, "store.rename:1:kill, no:1:kill", "--unsafe-test-hooks")
    finally:
        assert disarm() == {"store.rename": 0}
    assert refused.exit_code == 78
    assert "store.fsync" in refused.stderr


def test_the_help_does_not_offer_the_test_hooks() -> None:
    shown = CliRunner().invoke(app, ["serve", "--help"]).stdout
    assert "--engine" in shown
    assert "unsafe" not in shown


@pytest.mark.slow
def test_a_server_that_dies_while_it_stores_serves_the_adapter_after_its_restart(
    tmp_path: Path,
) -> None:
    flags = ["--engine", "echo", "--unsafe-test-hooks"]
    dies = {"VENEER_FAULTS": "store.rename:2:kill"}
    with start_process(tmp_path, flags=flags, environ=dies, ends_with=-signal.SIGKILL) as served:
        builders.write(served.adapters / "mine")
        assert served.process is not None
        assert served.process.wait(NEAR_S) == -signal.SIGKILL
    with start_process(tmp_path, flags=flags) as served:
        body = {"model": "mine", "messages": [{"role": "user", "content": "hello"}]}
        found = httpx.post(f"{served.url}/v1/chat/completions", json=body, timeout=NEAR_S)
        assert found.status_code == 200, found.text
        digest = found.headers["x-veneer-adapter"].split("sha256:")[1]
        assert any((tmp_path / "state" / "store" / "sha256").glob(f"*/{digest}*"))
        assert list((tmp_path / "state" / "store" / "tmp").iterdir()) == []


@pytest.mark.slow
def test_what_a_server_makes_is_for_its_own_user_alone(tmp_path: Path) -> None:
    with start_process(tmp_path, flags=["--engine", "echo"]) as served:
        builders.write(served.adapters / "mine")
        body = {"model": "mine", "messages": [{"role": "user", "content": "hello"}]}
        deadline = time.monotonic() + NEAR_S
        while httpx.post(f"{served.url}/v1/chat/completions", json=body).status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(POLL_S)
        state = tmp_path / "state"
        assert (stat.S_IMODE(state.stat().st_mode), state.stat().st_uid) == (0o700, os.getuid())
        for name in ("catalog.db", "catalog.db-wal", "LOCK", "store/CATALOG", "store/tmp"):
            assert not stat.S_IMODE((state / name).stat().st_mode) & 0o077, name
