"""One state folder, two servers, sudden deaths: as an operator meets them."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

import builders
from serving import Served, start_process

PROGRAM = [str(Path(sys.executable).with_name("veneer")), "serve", "--engine", "echo"]
NEAR_S = 20
"""Bound on a dropped folder being noticed and stored, on a busy machine."""


def serve(folder: Path, *flags: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Start a server that is expected to end by itself."""
    variables = {
        **os.environ,
        "VENEER_STATE__DIR": str(folder / "state"),
        "VENEER_ADAPTERS__DIR": str(folder / "my-adapters"),
        **environ,
    }
    return subprocess.run(
        [*PROGRAM, "--port", "0", *flags],
        capture_output=True, text=True, env=variables, timeout=60, check=False,
    )  # fmt: skip


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


def test_after_kill_9_the_next_server_starts_at_once(tmp_path: Path) -> None:
    with start_process(tmp_path, flags=["--engine", "echo"], ends_with=-signal.SIGKILL) as first:
        assert first.process is not None
        first.process.kill()
        first.process.wait(NEAR_S)
    with start_process(tmp_path, flags=["--engine", "echo"]) as second:
        assert httpx.get(f"{second.url}/readyz", timeout=10).status_code == 200


def test_a_state_folder_that_cannot_be_used_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    done = serve(tmp_path)
    assert done.returncode == 78
    assert "state.dir cannot be used: " in done.stderr
    assert "Traceback" not in done.stderr


def test_faults_are_refused_without_the_flag_that_allows_them(tmp_path: Path) -> None:
    done = serve(tmp_path, VENEER_FAULTS="store.rename:1:kill")
    assert done.returncode == 78
    assert "for tests only" in done.stderr
    assert not (tmp_path / "state").exists()


def test_a_fault_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    done = serve(tmp_path, "--unsafe-test-hooks", VENEER_FAULTS="store.rename:1:kill, no:1:kill")
    assert done.returncode == 78
    assert "store.fsync" in done.stderr


def test_the_help_does_not_offer_the_test_hooks() -> None:
    done = subprocess.run([*PROGRAM, "--help"], capture_output=True, timeout=60, check=True)
    assert b"unsafe" not in done.stdout


def wait_for_death(served: Served) -> int:
    assert served.process is not None
    return served.process.wait(NEAR_S)


@pytest.mark.parametrize("fault", ["store.fsync:1:kill", "store.rename:2:kill"])
def test_a_server_that_dies_while_it_stores_serves_the_adapter_after_its_restart(
    tmp_path: Path, fault: str
) -> None:
    flags = ["--engine", "echo", "--unsafe-test-hooks"]
    dies = {"VENEER_FAULTS": fault}
    with start_process(tmp_path, flags=flags, environ=dies, ends_with=-signal.SIGKILL) as served:
        builders.write(served.adapters / "mine")
        assert wait_for_death(served) == -signal.SIGKILL
    with start_process(tmp_path, flags=flags) as served:
        body = {"model": "mine", "messages": [{"role": "user", "content": "hello"}]}
        found = httpx.post(f"{served.url}/v1/chat/completions", json=body, timeout=NEAR_S)
        assert found.status_code == 200, found.text
        digest = found.headers["x-veneer-adapter"].split("sha256:")[1]
        assert any((tmp_path / "state" / "store" / "sha256").glob(f"*/{digest}*"))
        assert list((tmp_path / "state" / "store" / "tmp").iterdir()) == []
