"""The life and death of the processes of a real server."""

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from support import tiny
from support.serving import POLL_S, Served, start_process, stop

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]

BODY = {
    "model": "tiny",
    "messages": [{"role": "user", "content": "Count to one hundred."}],
    "max_tokens": 1000,
    "stream": True,
    "ignore_eos": True,
}


@contextmanager
def started(folder: Path, **options: Any) -> Iterator[Served]:
    """Serve the two-layer model: no test here looks at what it says."""
    base = folder / "tiny"
    model = base if base.exists() else tiny.model(base)
    with start_process(folder, flags=["--model", str(model)], **options) as served:
        yield served


IN_FLIGHT = 'veneer_requests_in_flight{adapter="tiny"} 2.0'


def descendants(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def oom_score(pid: int) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


def gone_within(processes: list[psutil.Process], seconds: float) -> bool:
    _gone, alive = psutil.wait_procs(processes, timeout=seconds)
    return not alive


def test_the_processes_of_the_first_engine_are_those_that_were_begun_early(tmp_path: Path) -> None:
    with started(tmp_path) as served:
        assert served.process is not None
        family = descendants(served.process.pid)
        core, worker = (p for p in family if "vllm" in p.name().casefold())
        assert worker.ppid() == core.pid
        # Python begins its tracker when it starts the first process in the usual way.
        [tracker] = [p for p in family if "resource_tracker" in " ".join(p.cmdline())]
        assert max(core.create_time(), worker.create_time()) < tracker.create_time()
        assert served.log is not None
        assert "begun early" not in served.log.read_text(), "one of them was not used"


def test_a_signal_to_the_whole_group_lets_streams_finish_and_exits_0(tmp_path: Path) -> None:
    with started(tmp_path, new_group=True) as served:
        assert served.process is not None
        family = descendants(served.process.pid)
        assert len(family) >= 2
        url = f"{served.url}/v1/chat/completions"
        body = {**BODY, "max_tokens": 200}  # far from over at its first token, and soon enough
        with httpx.stream("POST", url, json=body, timeout=60) as stream:
            lines = stream.iter_lines()
            next(lines)
            os.killpg(served.process.pid, signal.SIGINT)
            rest = list(lines)
        assert rest[-2] == "data: [DONE]"
        assert stop(served.process) == 0
        assert gone_within(family, 60)


def test_the_death_of_the_gateway_leaves_no_engine_and_the_next_start_removes_the_rest(
    tmp_path: Path,
) -> None:
    with started(tmp_path, ends_with=-signal.SIGKILL) as served:
        assert served.process is not None
        family = descendants(served.process.pid)
        scores = {p.cmdline()[-1]: oom_score(p.pid) for p in family if "VLLM" in p.name()}
        assert set(scores.values()) == {min(oom_score(served.process.pid) + 500, 1000)}
        served.process.kill()
        assert gone_within(family, 60)
        left = json.loads((tmp_path / "state" / "ENGINE").read_text())
        places = [Path(left["folder"]), *(Path("/dev/shm") / name for name in left["shared"])]  # noqa: S108
        assert len(places) > 1
        assert places[0].exists()  # Python's own tracker may have removed the memory
    with started(tmp_path):
        assert not any(place.exists() for place in places)
    assert not (tmp_path / "state" / "ENGINE").exists()


async def test_a_killed_worker_takes_only_its_own_streams_along_in_the_engine_too(
    tmp_path: Path,
) -> None:
    workers = {"VENEER_SERVER__WORKERS": "2"}
    with started(tmp_path, environ=workers) as served:
        assert served.process is not None
        async with (
            httpx.AsyncClient(base_url=served.url, timeout=60) as client,
            asyncio.timeout(120),
        ):
            while "veneer_workers 2.0" not in await metrics_of(client):
                await asyncio.sleep(POLL_S)
            asking = [asyncio.create_task(streamed(client)) for _ in range(2)]
            while IN_FLIGHT not in await metrics_of(client):
                assert not any(one.done() for one in asking)
                await asyncio.sleep(POLL_S)
            worker, _ = workers_of(served.process.pid)
            worker.kill()
            ended = await asyncio.gather(*asking)
            assert sorted(ended) == [False, True]
            while 'vllm:num_requests_running{engine="0",model_name="tiny"} 0.0' not in (
                await metrics_of(client)
            ):
                await asyncio.sleep(POLL_S)


async def metrics_of(client: httpx.AsyncClient) -> str:
    return (await client.get("/metrics")).text


async def streamed(client: httpx.AsyncClient) -> bool:
    """Return whether a stream came to its end."""
    lines = []
    try:
        async with client.stream("POST", "/v1/chat/completions", json=BODY) as stream:
            lines = [line async for line in stream.aiter_lines()]
    except httpx.RemoteProtocolError:
        return False
    return "data: [DONE]" in lines


def workers_of(pid: int) -> list[psutil.Process]:
    found = psutil.Process(pid).children()
    return [one for one in found if "veneer_server.workers.process" in one.cmdline()]


@pytest.mark.parametrize("hidden", ["VLLM_TARGET_DEVICE", "VLLM_PLUGINS"])
def test_without_the_exact_lora_op_the_server_refuses_to_start(tmp_path: Path, hidden: str) -> None:
    value = {"VLLM_TARGET_DEVICE": "cpu", "VLLM_PLUGINS": "somebody_elses"}[hidden]
    with (
        pytest.raises(AssertionError, match="did not start") as refusal,
        started(tmp_path, environ={hidden: value}),
    ):
        pass
    assert hidden in str(refusal.value)
    assert "Traceback" not in str(refusal.value)
