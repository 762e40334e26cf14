"""What a killed server left is removed by name, and nothing else ever is."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

import pytest

from veneer_server.engine.vllm.leftovers import FOLDER_PREFIX, Owner, clear, note, remove

KILLED = """
import os, signal, sys
from pathlib import Path
from veneer_server.engine.vllm.leftovers import note
note(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / f"{FOLDER_PREFIX}abc"
    made.mkdir()
    (made / "socket").write_text("")
    return made


@pytest.fixture
def shared() -> Iterator[str]:
    segment = SharedMemory(create=True, size=4096)
    segment.close()
    yield segment.name
    remove(Path("/nowhere"), [segment.name])


def noted_by_the_dead(record: Path, folder: Path, *shared: str) -> None:
    """Let a process write the record and be killed."""
    command = [sys.executable, "-c", KILLED, str(record), str(folder), *shared]
    assert subprocess.run(command, timeout=60, check=False).returncode == -signal.SIGKILL


def exists(shared: str) -> bool:
    return (Path("/dev/shm") / shared).exists()  # noqa: S108 - where Linux shows it


def test_what_a_dead_owner_left_is_removed(tmp_path: Path, folder: Path, shared: str) -> None:
    record = tmp_path / "ENGINE"
    noted_by_the_dead(record, folder, shared)
    assert clear(record)
    assert not folder.exists()
    assert not exists(shared)
    assert not record.exists()
    assert not clear(record)


def test_what_a_living_owner_uses_stays(tmp_path: Path, folder: Path, shared: str) -> None:
    record = tmp_path / "ENGINE"
    note(record, folder, [shared])
    assert not clear(record)
    assert folder.exists()
    assert exists(shared)


def test_a_process_that_got_the_number_of_the_owner_is_not_the_owner(
    tmp_path: Path, folder: Path
) -> None:
    record = tmp_path / "ENGINE"
    note(record, folder)
    told = json.loads(record.read_text())
    record.write_text(json.dumps({**told, "began": "1"}))
    assert clear(record)
    assert not folder.exists()


def test_an_owner_that_ended_and_was_not_waited_for_is_dead() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert Owner.of(child.pid) is None
    child.wait()


ODD: list[Callable[[dict[str, Any]], Any]] = [
    lambda told: {**told, "folder": told["folder"].replace(FOLDER_PREFIX, "other-")},
    lambda told: {**told, "pid": "x", "began": "1", "folder": 7},
    lambda told: {"folder": told["folder"]},
    lambda told: [],
    lambda told: "{",
]


@pytest.mark.parametrize("odd", ODD)
def test_a_record_that_names_anything_else_removes_nothing(
    tmp_path: Path, folder: Path, odd: Callable[[dict[str, Any]], Any]
) -> None:
    record, other = tmp_path / "ENGINE", tmp_path / "other-abc"
    other.mkdir()
    noted_by_the_dead(record, folder)
    told = odd(json.loads(record.read_text()))
    record.write_text(told if isinstance(told, str) else json.dumps(told))
    assert not clear(record)
    assert folder.exists()
    assert other.exists()


def test_shared_memory_of_others_is_not_removed(tmp_path: Path, folder: Path, shared: str) -> None:
    record = tmp_path / "ENGINE"
    noted_by_the_dead(record, folder, f"x/../{shared}")
    assert clear(record)
    assert exists(shared)
