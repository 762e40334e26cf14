"""A start of the real engine: its stages, the test of its kernels, and what is left of both."""

import os
from pathlib import Path

import pytest

from support import tiny
from veneer_server.engine.stages import Stage, Stages
from veneer_server.engine.vllm.startup.reports import FOLDER

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]


async def test_a_start_tells_its_stages_proves_its_kernels_and_leaves_no_adapter(
    tmp_path: Path,
) -> None:
    begun: list[Stage] = []
    stages = Stages(begun.append)
    async with tiny.engine(tmp_path, stages, max_len=None, lora_dtype="bfloat16") as engine:
        assert (engine.facts.dtype, engine.facts.lora_dtype) == ("float32", "bfloat16")
        order = [Stage.ENGINE, Stage.WEIGHTS, Stage.KERNELS, Stage.COMPILE, Stage.WARM_UP]
        assert [stage for stage in dict.fromkeys(begun) if stage in order] == order
        assert await engine.resident() == {"host": [], "device": []}
        client = engine._client
        assert await client.collective_rpc("veneer_test_kernels") == [None]
        assert await client.collective_rpc("veneer_kernel_fault") == [None]
        await engine.load_adapter(1, "a@sha256:1", tiny.adapter(tmp_path / "a"))
        assert (await engine.measure_effect(1, "a@sha256:1")).largest_change
        own = os.environ[FOLDER]
    assert os.environ.get(FOLDER) != own, "the next engine of this process would look there"
