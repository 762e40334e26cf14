"""How far a start is: the stages, their times, and how the engine's processes report them."""

import asyncio
from pathlib import Path

import pytest

from veneer_server.commands.startup import to_sum
from veneer_server.engine.stages import Stage, Stages
from veneer_server.engine.vllm.startup.reports import FOLDER, following, parse_reports, report


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_a_stage_ends_when_the_next_one_begins_and_times_add_up() -> None:
    clock, begun = Clock(), list[Stage]()
    stages = Stages(begun.append, clock)
    for stage, seconds in (
        (Stage.WEIGHTS, 1.0),
        (Stage.KERNELS, 2.0),
        (Stage.WEIGHTS, 0.5),
        (Stage.ADAPTERS, 4.0),
    ):
        stages.begin(stage)
        clock.now_s += seconds
    assert stages.now is Stage.ADAPTERS
    assert stages.took_s() == {Stage.WEIGHTS: 1.5, Stage.KERNELS: 2.0, Stage.ADAPTERS: 4.0}
    stages.end()
    assert (stages.now, stages.total_s()) == (None, 7.5)
    assert begun == [Stage.WEIGHTS, Stage.KERNELS, Stage.WEIGHTS, Stage.ADAPTERS]


def test_a_stage_that_is_reported_late_began_when_it_says() -> None:
    clock = Clock()
    stages = Stages(clock=clock)
    stages.begin(Stage.ENGINE)
    clock.now_s += 10.0
    stages.begin(Stage.WEIGHTS, 103.0)
    assert stages.took_s() == {Stage.ENGINE: 3.0, Stage.WEIGHTS: 7.0}


def test_of_several_workers_the_first_counts_and_half_a_line_waits() -> None:
    text = "1.5 weights\n1.6 weights\n2.0 kernels\nnonsense\n3.0 comp"
    assert parse_reports(text) == [(Stage.WEIGHTS, 1.5), (Stage.KERNELS, 2.0)]


async def test_the_gateway_hears_each_stage_once_while_the_start_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    heard: asyncio.Queue[Stage] = asyncio.Queue()
    async with (
        asyncio.timeout(5),
        following(tmp_path, lambda stage, _at_s: heard.put_nowait(stage)),
    ):
        report(Stage.WEIGHTS)
        assert await heard.get() is Stage.WEIGHTS
        report(Stage.KERNELS)
    assert await heard.get() is Stage.KERNELS
    assert heard.empty()


def test_a_report_that_cannot_be_written_ends_no_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER, "/nowhere/at/all")
    report(Stage.WEIGHTS)
    monkeypatch.delenv(FOLDER)
    report(Stage.WEIGHTS)


def test_the_sum_leaves_out_what_took_no_time() -> None:
    took = {Stage.ENGINE: 6.04, Stage.GRAPHS: 0.001, Stage.ADAPTERS: 1.26}
    assert to_sum(took, 7.31) == "Started in 7.3 s (engine 6.0 s, adapters 1.3 s)."
