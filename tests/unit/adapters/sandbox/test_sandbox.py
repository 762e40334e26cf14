"""Reading happens elsewhere: same verdicts, and whatever happens there stays there."""

import json
import os
import resource
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from support import builders
from support.builders import Q, V
from veneer_adapters import errors
from veneer_adapters.artifact.checks import verify
from veneer_adapters.artifact.manifest import BaseFacts, Manifest
from veneer_adapters.sandbox.confinement import Limits
from veneer_adapters.sandbox.replies import MANIFEST, judge
from veneer_adapters.sandbox.sandbox import Sandbox

WITHOUT_BASE = BaseFacts("echo", {}, max_rank=8)
SPOILT: dict[str, dict[str, object]] = {
    "rank_too_large": {"rank_pattern": {"nothing": 9}},
    "invalid_config": {"r": "4"},
    "unsupported_feature": {"use_dora": True},
    "non_finite": {"lora_alpha": 1e39},
    "truncated": {"weights": builders.safetensors(builders.tensors())[:-1]},
    "invalid_tensors": {"weights": struct.pack("<Q", 2) + b"{}x"},
    "base_mismatch": {"weights": builders.safetensors(builders.tensors({Q: (8, 16), V: (16, 8)}))},
    "no_effect": {"weights": builders.safetensors(builders.tensors({"model.x": (4, 4)}))},
}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


def endless(folder: Path) -> Path:
    """An adapter whose verification would take half a minute: a terabyte of zeros, sparse."""
    columns = 1 << 36
    header = {
        f"{Q}.lora_A.weight": entry([4, columns], 0),
        f"{Q}.lora_B.weight": entry([8, 4], 16 * columns),
    }
    text = json.dumps(header).encode()
    builders.write(folder, weights=struct.pack("<Q", len(text)) + text)
    os.truncate(folder / "adapter_model.safetensors", 8 + len(text) + 16 * columns + 128)
    return folder


def entry(shape: list[int], at: int) -> dict[str, object]:
    stop = at + 4 * shape[0] * shape[1]
    return {"dtype": "F32", "shape": shape, "data_offsets": [at, stop]}


class Processes:
    """Those that were started since."""

    def __init__(self) -> None:
        self._others = set(psutil.Process().children(recursive=True))

    def wait_for(self, count: int) -> list[psutil.Process]:
        """The zygote, then its readers, once there are ``count``."""
        done = threading.Event()
        for _ in range(1000):
            found = [p for p in psutil.Process().children(recursive=True) if p not in self._others]
            if len(found) == count:
                return found
            done.wait(0.01)
        raise AssertionError(f"there are {found}")


def wait_until_ended(process: psutil.Process) -> None:
    """Return when it runs no more; a container may have nobody to bury it."""
    done = threading.Event()
    for _ in range(1000):
        if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
            return
        done.wait(0.01)
    raise AssertionError(f"{process} still runs")


@pytest.fixture
def processes() -> Processes:
    return Processes()


def test_the_verdict_is_that_of_the_checks(tmp_path: Path, sandbox: Sandbox) -> None:
    folder = builders.write(tmp_path)
    assert sandbox.verify(folder, builders.FACTS) == verify(folder, builders.FACTS)


@pytest.mark.parametrize("reason", SPOILT)
def test_a_refusal_arrives_as_the_error_it_was(
    tmp_path: Path, sandbox: Sandbox, reason: str
) -> None:
    folder = builders.write(tmp_path, **SPOILT[reason])  # type: ignore[arg-type]
    with pytest.raises(errors.AdapterRejected) as direct:
        verify(folder, builders.FACTS)
    with pytest.raises(type(direct.value)) as sandboxed:
        sandbox.verify(folder, builders.FACTS)
    assert sandboxed.value.reason == reason
    assert str(sandboxed.value) == str(direct.value)


def test_a_folder_that_cannot_be_read_is_no_fault_of_the_adapter(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    with pytest.raises(errors.StorageFailed) as raised:
        sandbox.verify(tmp_path / "gone", builders.FACTS)
    assert str(tmp_path) not in str(raised.value)


def test_many_threads_are_answered_each_with_its_own(tmp_path: Path, sandbox: Sandbox) -> None:
    folders = [
        builders.write(
            tmp_path / str(rank),
            r=rank,
            weights=builders.safetensors(builders.tensors(rank=rank)),
        )
        for rank in range(1, 9)
    ]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda f: sandbox.verify(f, builders.FACTS).rank, folders * 3))
    assert found == list(range(1, 9)) * 3


@pytest.mark.slow
def test_what_takes_too_much_processor_time_is_refused(tmp_path: Path) -> None:
    with Sandbox(limits=Limits(cpu_s=1)) as sandbox, pytest.raises(errors.Unparsable):
        sandbox.verify(endless(tmp_path), WITHOUT_BASE)


@pytest.mark.slow
def test_what_takes_too_long_is_refused(tmp_path: Path) -> None:
    with Sandbox(limits=Limits(wall_s=0.2)) as sandbox, pytest.raises(errors.Unparsable):
        sandbox.verify(endless(tmp_path), WITHOUT_BASE)


@pytest.mark.slow
def test_what_takes_too_much_memory_is_refused_and_the_next_is_served(tmp_path: Path) -> None:
    # A quarter of a gigabyte once it is parsed: each of these is a Python object.
    text = b'{"a":[' + b"1.5," * 6_000_000 + b"1]}"
    bomb = builders.write(tmp_path / "bomb", weights=struct.pack("<Q", len(text)) + text)
    before = resource.getrlimit(resource.RLIMIT_AS)
    with Sandbox(limits=Limits(memory_bytes=256 << 20)) as sandbox:
        with pytest.raises(errors.Unparsable, match="within the limits"):
            sandbox.verify(bomb, builders.FACTS)
        folder = builders.write(tmp_path / "fine")
        assert sandbox.verify(folder, builders.FACTS).rank == 4
    assert resource.getrlimit(resource.RLIMIT_AS) == before


def under_way(sandbox: Sandbox, folder: Path, threads: ThreadPoolExecutor) -> Future[Manifest]:
    return threads.submit(sandbox.verify, endless(folder), WITHOUT_BASE)


@pytest.mark.slow
def test_a_reader_that_is_killed_is_a_refusal_and_the_next_is_served(
    tmp_path: Path, processes: Processes
) -> None:
    with Sandbox() as sandbox, ThreadPoolExecutor(1) as threads:
        waiting = under_way(sandbox, tmp_path / "slow", threads)
        processes.wait_for(2)[1].kill()
        with pytest.raises(errors.Unparsable):
            waiting.result(60)
        assert sandbox.verify(builders.write(tmp_path / "fine"), builders.FACTS).rank == 4
        assert processes.wait_for(1)


@pytest.mark.slow
def test_a_zygote_that_is_killed_takes_its_readers_along_and_is_replaced(
    tmp_path: Path, processes: Processes
) -> None:
    folder = builders.write(tmp_path / "fine")
    with Sandbox(limits=Limits(cpu_s=1)) as sandbox, ThreadPoolExecutor(1) as threads:
        waiting = under_way(sandbox, tmp_path / "slow", threads)
        zygote, reader = processes.wait_for(2)
        zygote.kill()
        wait_until_ended(reader)
        # It is tried once more, in a new one, and runs into its own limit.
        with pytest.raises(errors.Unparsable):
            waiting.result(60)
        assert sandbox.verify(folder, builders.FACTS).rank == 4
        assert zygote not in processes.wait_for(1)


@pytest.mark.slow
def test_closing_ends_every_process_and_can_be_done_twice(
    tmp_path: Path, processes: Processes
) -> None:
    sandbox = Sandbox()
    sandbox.close()
    sandbox.verify(builders.write(tmp_path), builders.FACTS)
    started = processes.wait_for(1)
    sandbox.close()
    sandbox.close()
    assert not any(process.is_running() for process in started)


@pytest.mark.slow
def test_closing_meanwhile_is_no_fault_of_the_adapter(tmp_path: Path, processes: Processes) -> None:
    sandbox = Sandbox()
    with ThreadPoolExecutor(1) as threads:
        waiting = under_way(sandbox, tmp_path, threads)
        processes.wait_for(2)
        sandbox.close()
        with pytest.raises(errors.StorageFailed):
            waiting.result(60)
    processes.wait_for(0)


@pytest.mark.slow
def test_the_reader_has_none_of_our_environment_and_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: Processes
) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    with Sandbox() as sandbox:
        sandbox.verify(builders.write(tmp_path), builders.FACTS)
        [zygote] = processes.wait_for(1)
        assert "HF_TOKEN" not in zygote.environ()
        assert zygote.num_threads() == 1
        if os.geteuid() == 0:
            assert os.readlink(f"/proc/{zygote.pid}/ns/net") != os.readlink("/proc/self/ns/net")


@pytest.mark.slow
def test_a_reader_whose_zygote_is_gone_before_it_could_be_told_reads_nothing() -> None:
    code = (
        "from veneer_adapters.sandbox.confinement import Limits, confine\n"
        f"confine(Limits(), parent={os.getpid() + 1})\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ProcessLookupError" in done.stderr


MADE_UP = [
    b"",
    b"not JSON",
    b"[]",
    b"{}",
    b'{"found": null}',
    b'{"crashed": "MemoryError"}',
    b'{"refused": {"reason": "truncated"}}',
    b'{"refused": {"reason": 1, "message": "x"}}',
    b'{"refused": {"reason": "internal", "message": "x"}}',
    b'{"refused": {"reason": "catalog_unreadable", "message": "x"}}',
    b'{"else": 1}',
    b'{"found": {"rank": "many"}}',
    b'{"found": [1, 2]}',
    b"\x80\x04N.",
]


@pytest.mark.parametrize("answer", MADE_UP)
def test_an_answer_that_cannot_be_is_a_refusal(answer: bytes) -> None:
    with pytest.raises(errors.Unparsable):
        judge(answer, MANIFEST)


def test_a_message_of_the_reader_is_shown_on_one_line_and_not_at_any_length() -> None:
    said = {"refused": {"reason": "truncated", "message": "a\r\nb\x1b[31m" + "x" * 10_000}}
    with pytest.raises(errors.Truncated) as raised:
        judge(json.dumps(said).encode(), MANIFEST)
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 1000


@pytest.mark.slow
def test_a_server_that_is_killed_leaves_no_process_behind(tmp_path: Path) -> None:
    folder = builders.write(tmp_path)
    code = (
        "import os, pathlib, psutil, signal, sys\n"
        "from veneer_adapters.artifact.manifest import BaseFacts\n"
        "from veneer_adapters.sandbox.sandbox import Sandbox\n"
        "sandbox = Sandbox()\n"
        f"sandbox.verify(pathlib.Path({str(folder)!r}), BaseFacts('echo', {{}}, 8))\n"
        "print(psutil.Process().children()[0].pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        zygote = psutil.Process(int(server.stdout.readline()))
        server.kill()
    wait_until_ended(zygote)
