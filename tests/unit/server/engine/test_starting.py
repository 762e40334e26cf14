"""A start of an engine has a bound, and begins with a look at the base model."""

import asyncio
import sys
from pathlib import Path

import pytest

from support.checkpoints import checkpoint, layer
from support.mortal import MortalEcho
from veneer_server.engine import starting
from veneer_server.engine.base import EngineNotStarted, EngineStartTimedOut
from veneer_server.engine.sizing.sizes import Device, Needs
from veneer_server.engine.starting import choose_sizes_for, started_in_time
from veneer_server.engine.vllm.startup import spare
from veneer_server.settings import Settings

GIB = 2**30


async def test_a_folder_that_no_engine_could_serve_is_refused_before_vllm_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)  # so that importing it fails
    settings = Settings.load(environ={}, flags={"model": {"path": str(tmp_path)}})
    with pytest.raises(EngineNotStarted, match=r"has no config\.json"):
        await choose_sizes_for(settings, Needs(), lambda _: None)


async def test_what_begins_early_is_not_counted_as_memory_that_others_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free, begun = [64 * GIB], list[str]()

    def begin(name: str, _environ: object) -> None:
        begun.append(name)
        free[0] -= GIB

    def cpu() -> Device:
        return Device("cpu", "this machine", free[0])

    monkeypatch.setattr(starting, "device_here", cpu)
    monkeypatch.setattr(starting, "_device", cpu)
    monkeypatch.setattr(starting, "_set_environment", lambda _: None)
    monkeypatch.setattr(starting, "find_spec", lambda _: "installed")
    monkeypatch.setattr(starting, "foreseen", lambda _: {})
    monkeypatch.setattr(starting.spare, "begin", begin)
    model = checkpoint(tmp_path, layer())
    (model / "tokenizer.json").write_text("{}")
    settings = Settings.load(environ={}, flags={"model": {"path": str(model)}})
    said: list[str] = []
    await choose_sizes_for(settings, Needs(), said.extend)
    assert begun == [spare.CORE]
    assert "64.0 GiB" in " ".join(said)


async def test_a_start_that_hangs_is_cancelled_and_told_in_a_sentence() -> None:
    ended = asyncio.Event()

    async def start() -> MortalEcho:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return MortalEcho()

    with pytest.raises(EngineStartTimedOut, match=r"within 0\.01 s.*engine\.start_timeout_s"):
        await started_in_time(start(), 0.01)
    assert ended.is_set()


async def test_a_start_that_runs_into_a_timeout_of_its_own_is_not_called_too_long() -> None:
    async def start() -> MortalEcho:
        async with asyncio.timeout(0):
            await asyncio.Event().wait()
        return MortalEcho()

    with pytest.raises(TimeoutError):
        await started_in_time(start(), 60.0)


async def test_a_start_in_time_gives_its_engine() -> None:
    engine = MortalEcho()

    async def start() -> MortalEcho:
        return engine

    assert await started_in_time(start(), 60.0) is engine
