"""What vLLM's processes do because we are installed, with plain processes in their place."""

import asyncio
import importlib.util
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from veneer_server.engine.vllm.inside import plugin
from veneer_server.engine.vllm.inside.plugin import Role, choose_role, platform

# A gateway that starts an engine core that starts a worker, as vLLM does: by spawning.
# Each says "<role> <pid> <process group>" and then waits for ever.
FAMILY = """
import multiprocessing, os, signal, sys
from contextlib import suppress
from veneer_server.engine.vllm.inside.plugin import install, platform

def say(role):
    print(role, os.getpid(), os.getpgrp(), flush=True)

def worker():
    install()
    say("worker")
    signal.pause()

def engine():
    install()
    multiprocessing.get_context("spawn").Process(target=worker).start()
    say("engine")
    signal.pause()

def early():
    with suppress(ImportError):  # where vLLM is not installed
        platform()
    say("engine")
    signal.pause()

def gateway():
    if sys.argv[1] != "theirs":
        os.environ["VENEER_GATEWAY_PID"] = str(os.getpid())
    child = early if sys.argv[1] == "early" else engine
    multiprocessing.get_context("spawn").Process(target=child).start()
    say("gateway")
    signal.pause()

if __name__ == "__main__":
    gateway()
"""


@dataclass
class Family:
    """A gateway's process, and ``(pid, process group)`` of it, its engine and its worker."""

    process: asyncio.subprocess.Process
    members: dict[str, tuple[int, int]]

    @property
    def groups(self) -> dict[str, int]:
        return {role: group for role, (_, group) in self.members.items()}

    async def ended(self) -> None:
        """Return when the last process that held the pipe is gone."""
        assert self.process.stdout is not None
        await self.process.stdout.read()
        await self.process.wait()


@asynccontextmanager
async def a_family(folder: Path, *, ours: bool, early: bool = False) -> AsyncIterator[Family]:
    """Three running processes, gone after the block; with ``early`` an engine that just begins."""
    script = folder / "family.py"
    script.write_text(FAMILY)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(script), "early" if early else "ours" if ours else "theirs"),
        stdout=asyncio.subprocess.PIPE,
        env={key: value for key, value in os.environ.items() if not key.startswith("VENEER_")},
        start_new_session=True,
    )
    assert process.stdout is not None
    family = Family(process, {})
    try:
        async with asyncio.timeout(90):  # where vLLM is installed, two of them import it
            while len(family.members) < (2 if early else 3):
                role, pid, group = (await process.stdout.readline()).decode().split()
                family.members[role] = (int(pid), int(group))
        yield family
    finally:
        for pid, _ in family.members.values():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(30):
            await family.ended()


@pytest.mark.slow
async def test_nothing_outlives_a_gateway_that_is_killed(tmp_path: Path) -> None:
    async with a_family(tmp_path, ours=True) as family:
        family.process.kill()

        async with asyncio.timeout(30):
            await family.ended()


@pytest.mark.slow
async def test_an_engine_that_has_just_begun_does_not_outlive_a_gateway_either(
    tmp_path: Path,
) -> None:
    async with a_family(tmp_path, ours=True, early=True) as family:
        family.process.kill()

        async with asyncio.timeout(30):
            await family.ended()


@pytest.mark.slow
async def test_the_engine_and_its_worker_are_outside_the_gateways_group(tmp_path: Path) -> None:
    async with a_family(tmp_path, ours=True) as family:
        groups = family.groups

    assert groups["engine"] == family.members["engine"][0]
    assert groups["worker"] == groups["engine"] != groups["gateway"]


@pytest.mark.slow
async def test_processes_of_a_plain_vllm_keep_their_group(tmp_path: Path) -> None:
    async with a_family(tmp_path, ours=False) as family:
        groups = family.groups

    assert set(groups.values()) == {family.process.pid}


def oom_score(pid: int) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


@pytest.mark.slow
async def test_when_memory_runs_out_the_engine_ends_before_the_gateway(tmp_path: Path) -> None:
    own = oom_score(os.getpid())
    async with a_family(tmp_path, ours=True) as family:
        scores = {role: oom_score(pid) for role, (pid, _) in family.members.items()}
    assert scores["gateway"] == own
    assert scores["engine"] == scores["worker"] == min(own + 500, 1000)


@pytest.mark.slow
async def test_processes_of_a_plain_vllm_keep_their_score(tmp_path: Path) -> None:
    async with a_family(tmp_path, ours=False) as family:
        scores = {oom_score(pid) for pid, _ in family.members.values()}
    assert scores == {oom_score(os.getpid())}


@pytest.mark.parametrize(
    ("parent_pid", "gateway", "engine", "role"),
    [
        (None, "10", None, Role.STRANGER),
        (10, None, None, Role.STRANGER),
        (10, "10", None, Role.ENGINE_CORE),
        (11, "10", "11", Role.WORKER),
        (12, "10", "11", Role.STRANGER),
        (12, "10", None, Role.STRANGER),
    ],
)
def test_a_process_knows_its_role_from_its_parent(
    parent_pid: int | None, gateway: str | None, engine: str | None, role: Role
) -> None:
    assert choose_role(parent_pid, gateway, engine) is role


def test_the_platform_is_offered_only_to_processes_of_a_gateway(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("VENEER_GATEWAY_PID", raising=False)
    assert platform() is None


@pytest.mark.engine
def test_the_platform_is_offered_where_vllm_runs_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    platforms = pytest.importorskip("vllm.platforms")
    monkeypatch.setenv("VENEER_GATEWAY_PID", str(os.getpid()))
    for stock, ours in (
        ("vllm.platforms.cpu.CpuPlatform", True),
        ("vllm.platforms.zen_cpu.ZenCpuPlatform", False),
        (None, False),
    ):
        monkeypatch.setattr(platforms, "cpu_platform_plugin", lambda stock=stock: stock)
        assert (platform() is not None) is ours


@pytest.mark.engine
@pytest.mark.parametrize(
    ("stock", "wanted", "ours"),
    [
        ("vllm.platforms.cuda.CudaPlatform", None, True),
        ("vllm.platforms.cuda.CudaPlatform", "auto", True),
        ("vllm.platforms.cuda.CudaPlatform", "vllm", False),
        ("vllm.platforms.rocm.RocmPlatform", "auto", False),
    ],
)
def test_the_platform_is_offered_on_cuda_unless_lora_is_left_to_vllm(
    stock: str, wanted: str | None, ours: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    platforms = pytest.importorskip("vllm.platforms")
    monkeypatch.setenv("VENEER_GATEWAY_PID", str(os.getpid()))
    monkeypatch.delenv("VENEER_LORA_OP", raising=False)
    if wanted is not None:
        monkeypatch.setenv("VENEER_LORA_OP", wanted)
    monkeypatch.setattr(platforms, "cpu_platform_plugin", lambda: None)
    monkeypatch.setattr(platforms, "cuda_platform_plugin", lambda: stock)
    found = platform()
    assert (found is not None) is ours
    if found is not None:
        module, _, _ = found.rpartition(".")
        assert importlib.util.find_spec(module) is not None


@pytest.mark.engine
def test_ranks_are_counted_as_vllm_does_without_its_compiler(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch = pytest.importorskip("torch")
    sampler = pytest.importorskip("vllm.v1.sample.sampler")
    ops = pytest.importorskip("vllm.v1.sample.ops.logprobs")
    monkeypatch.setattr(sampler, "batched_count_greater_than", None)
    plugin._count_ranks_plainly()
    rows = torch.tensor([[0.5, 2.0, 1.0], [3.0, 3.0, -1.0]])
    values = torch.tensor([[1.0], [3.0]])
    vllms = ops.batched_count_greater_than._torchdynamo_orig_callable
    assert torch.equal(sampler.batched_count_greater_than(rows, values), vllms(rows, values))
