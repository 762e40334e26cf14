"""One server for one state folder, for exactly as long as it lives."""

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from veneer_adapters.errors import StateFolderInUse, StorageFailed
from veneer_adapters.state_lock import LOCK_FILE, state_folder

HOLDER = """
import sys
from pathlib import Path
from veneer_adapters.state_lock import state_folder
with state_folder(Path(sys.argv[1])):
    print("mine", flush=True)
    sys.stdin.read()
"""


def hold(folder: Path) -> subprocess.Popen[bytes]:
    """Return a process that has ``folder`` until its standard input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"mine\n"
    return process


def end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate(timeout=30)


def test_the_folder_is_made_and_the_holder_named(tmp_path: Path) -> None:
    with state_folder(tmp_path / "a" / "state"):
        assert (tmp_path / "a" / "state" / LOCK_FILE).read_text() == f"{os.getpid()}\n"


@pytest.mark.slow
def test_a_second_one_is_told_who_has_it_and_which_setting_to_change(tmp_path: Path) -> None:
    process = hold(tmp_path)
    try:
        with pytest.raises(StateFolderInUse) as caught, state_folder(tmp_path):
            raise NotImplementedError
    finally:
        end(process)
    assert f"(process {process.pid})" in str(caught.value)
    assert "state.dir" in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.slow
def test_the_refusal_leaves_the_holders_lock_as_it_was(tmp_path: Path) -> None:
    with state_folder(tmp_path):
        for _ in range(2):
            with pytest.raises(StateFolderInUse), state_folder(tmp_path):
                raise NotImplementedError
        assert (tmp_path / LOCK_FILE).read_text() == f"{os.getpid()}\n"


def test_an_unreadable_holder_is_not_named(tmp_path: Path) -> None:
    with state_folder(tmp_path):
        (tmp_path / LOCK_FILE).write_bytes(b"\xff/etc/passwd")
        with pytest.raises(StateFolderInUse, match=r"^Another server uses"), state_folder(tmp_path):
            raise NotImplementedError


def test_it_is_free_again_after_the_block(tmp_path: Path) -> None:
    for _ in range(2):
        with state_folder(tmp_path):
            assert (tmp_path / LOCK_FILE).read_text() == f"{os.getpid()}\n"


@pytest.mark.slow
def test_it_is_free_again_after_kill_9(tmp_path: Path) -> None:
    process = hold(tmp_path)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    with state_folder(tmp_path):
        pass


FORKS = """
import os, sys
from pathlib import Path
from veneer_adapters.state_lock import state_folder
with state_folder(Path(sys.argv[1])):
    if os.fork() == 0:
        print(os.getpid(), flush=True)
        sys.stdin.read()
        os._exit(0)
    os.kill(os.getpid(), 9)
"""


@pytest.mark.slow
def test_a_forked_child_that_outlives_the_holder_does_not_keep_it(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", FORKS, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    child = int(process.stdout.readline())
    assert process.wait(timeout=30) == -signal.SIGKILL
    os.kill(child, 0)  # it lives
    with state_folder(tmp_path):
        pass
    process.communicate(timeout=30)


def test_a_folder_that_cannot_be_made_is_one_sentence_without_its_path(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(StorageFailed, match=r"state\.dir") as caught,
        state_folder(tmp_path / "file" / "state"),
    ):
        raise NotImplementedError
    assert str(tmp_path) not in str(caught.value)


def test_a_lock_that_is_free_in_a_moment_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = (tmp_path / LOCK_FILE).open("a+b")
    fcntl.flock(held, fcntl.LOCK_EX)
    monkeypatch.setattr("time.sleep", lambda pause_s: held.close())
    with state_folder(tmp_path):
        assert held.closed
