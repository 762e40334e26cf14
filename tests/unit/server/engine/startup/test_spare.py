"""A process of the engine that is begun early: what it gets, and with whom it ends."""

import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from veneer_server.engine.vllm.startup import spare

# An engine core that is spawned as the gateway does it, and has a spare that imports no vLLM.
FAMILY = """
import multiprocessing, os, signal, sys
from types import SimpleNamespace
from veneer_server.engine.vllm.startup import spare

case = sys.argv[1]
if __name__ == "__mp_main__":
    spare.IMPORTS[spare.WORKER] = ("json",)
    spare.begin_worker(multiprocessing.current_process().name)

def core():
    kept = spare._waiting[0].pid if spare._waiting else None
    print("core", os.getpid(), kept, flush=True)
    if case == "waits":
        signal.pause()
    if case == "ends":
        return
    if case == "dead":
        os.kill(kept, signal.SIGKILL)
        os.waitid(os.P_PID, kept, os.WEXITED | os.WNOWAIT)
    if case == "libraries":
        os.environ["OMP_NUM_THREADS"] = "1"
    if case == "program":
        multiprocessing.set_executable(sys.argv[2])
    module = SimpleNamespace(get_mp_context=lambda: multiprocessing.get_context("spawn"))
    os.environ["LATER"] = "known"
    del os.environ["EARLIER"]
    with spare.taking_spare(module):
        context = module.get_mp_context()
        first, second = (start(context) for _ in range(2))
    print("first is the spare", first == kept, "second is it", second == kept, flush=True)

def start(context):
    (reader, writer), lock = context.Pipe(duplex=False), context.Lock()
    worker = context.Process(target=work, args=(writer, lock), name="VllmWorker-0")
    worker.start()
    writer.close()
    print("worker says", reader.recv(), flush=True)
    worker.join(60)
    print("ended with", worker.exitcode, flush=True)
    return worker.pid

def work(writer, lock):
    parent = multiprocessing.parent_process()
    with lock:
        writer.send((
            multiprocessing.current_process().name,
            os.environ.get("LATER"), os.environ.get("EARLIER"),
            parent.pid == os.getppid() and parent.is_alive(),
            os.path.exists("/proc/self/fd/99"),
        ))
    sys.exit(3)

if __name__ == "__main__":
    os.environ["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
    os.environ |= {spare.WANTED: "EngineCore" if case != "none" else "", "EARLIER": "known"}
    os.dup2(0, 99, inheritable=True)  # as who starts a server may leave it open
    early, context = "core" in case, multiprocessing.get_context("spawn")
    module = SimpleNamespace(get_mp_context=lambda: context)
    if early:
        spare.IMPORTS |= {spare.CORE: ("json",), spare.WORKER: ("json",)}
        spare.begin(spare.CORE, os.environ)
    begun = [kept.pid for kept in spare._waiting]
    with spare.taking_spare(module):
        child = module.get_mp_context().Process(target=core, name="EngineCore")
        child.start()
    print("core was begun early", begun == [child.pid], spare._waiting, flush=True)
    child.join()
"""
CORE = re.compile(r"core (\d+) (\d+)")
SAID = "worker says ('VllmWorker-0', 'known', None, True, False)"


@contextmanager
def a_family(folder: Path, case: str) -> Iterator["subprocess.Popen[str]"]:
    script = folder / "family.py"
    script.write_text(FAMILY)
    other = folder / "python"  # as vLLM has one that binds the process to memory first
    other.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    other.chmod(0o700)
    with subprocess.Popen(
        [sys.executable, str(script), case, str(other)],
        stdout=subprocess.PIPE, text=True, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def after_the_core(lines: list[str]) -> list[str]:
    return [line for line in lines if not line.startswith("core ")]


def said(process: "subprocess.Popen[str]") -> list[str]:
    return process.communicate(timeout=60)[0].splitlines()


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def wait_until_gone(pid: int) -> None:
    """Wait until a process that is no child of this one has ended."""
    with suppress(ProcessLookupError), open(os.pidfd_open(pid)) as ended:
        assert select.select([ended], [], [], 30)[0], "it is still there"


def test_the_first_worker_is_the_spare_and_gets_what_a_spawned_one_gets(tmp_path: Path) -> None:
    with a_family(tmp_path, "works") as process:
        rest = after_the_core(said(process))
    assert rest == [
        *(SAID, "ended with 3") * 2,
        "first is the spare True second is it False",
    ]


def test_an_engine_core_that_was_begun_early_begins_its_worker(tmp_path: Path) -> None:
    with a_family(tmp_path, "early core") as process:
        told = said(process)
    assert "core was begun early True []" in told
    assert after_the_core(told) == [
        *(SAID, "ended with 3") * 2,
        "first is the spare True second is it False",
    ]


def test_where_no_spare_is_wanted_the_worker_is_spawned(tmp_path: Path) -> None:
    with a_family(tmp_path, "none") as process:
        told = said(process)
    assert any(line.startswith("core ") and line.endswith(" None") for line in told)
    assert after_the_core(told)[:2] == [SAID, "ended with 3"]


@pytest.mark.parametrize("case", ["dead", "libraries", "program"])
def test_in_place_of_a_spare_that_is_not_right_the_worker_is_spawned(
    tmp_path: Path, case: str
) -> None:
    with a_family(tmp_path, case) as process:
        told = said(process)
    assert after_the_core(told) == [
        *(SAID, "ended with 3") * 2,
        "first is the spare False second is it False",
    ]
    [kept] = [int(found[2]) for line in told if (found := CORE.fullmatch(line))]
    assert is_gone(kept)


@pytest.mark.parametrize("case", ["ends", "waits"])
def test_a_spare_that_nobody_takes_ends_with_its_engine_core(tmp_path: Path, case: str) -> None:
    with a_family(tmp_path, case) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        core, kept = next(
            found.groups() for line in lines if (found := CORE.fullmatch(line.strip()))
        )
        if case == "waits":
            os.kill(int(core), signal.SIGKILL)
        wait_until_gone(int(kept))


def test_no_other_process_has_a_spare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(spare.WANTED, raising=False)
    spare.begin_worker("MainProcess")
    monkeypatch.setenv(spare.WANTED, spare.CORE)
    spare.begin_worker("MainProcess")
    assert spare._waiting == []


def test_where_no_process_can_be_begun_the_log_says_so_and_there_is_no_spare(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def posix_spawn(*_args: object, **_named: object) -> int:
        raise BlockingIOError("no more processes")

    monkeypatch.setattr(os, "posix_spawn", posix_spawn)
    spare.begin(spare.WORKER, os.environ)
    assert spare._waiting == []
    assert "could not be begun early: no more processes" in caplog.text
