"""Names that are looked for when they are first asked for."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from support.builders import revision
from veneer_adapters.catalog.revision import Revision
from veneer_adapters.errors import (
    AdapterError,
    AdapterNotFound,
    MissingFile,
    RankTooLarge,
    SourceUnavailable,
)
from veneer_adapters.publishing.pulling import Puller

TEMPLATES = ("s3://first/{name}", "s3://second/{name}")


class Sources:
    """What lies where; everything else is missing. Waits for ``gate`` before it answers."""

    def __init__(self, found: Mapping[str, Exception | Revision] | None = None) -> None:
        self.found = dict(found or {})
        self.asked: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.began = asyncio.Event()
        self.now_s = 0.0

    async def pull(self, name: str, location: str) -> Revision:
        place = location.removeprefix("s3://")
        self.asked.append(place)
        self.began.set()
        await self.gate.wait()
        answer = self.found.get(place, MissingFile("Not here."))
        if isinstance(answer, Exception):
            raise answer
        return answer


def puller(sources: Sources, *, deadline_s: float = 5, **options: Any) -> Puller:
    return Puller(
        TEMPLATES,
        sources.pull,
        deadline_s=deadline_s,
        clock=lambda: sources.now_s,
        **options,
    )


async def refused(pulling: Puller, name: str) -> AdapterError:
    with pytest.raises(AdapterError) as caught:
        await pulling.pull(name)
    return caught.value


async def test_a_name_is_looked_for_in_the_order_of_the_templates() -> None:
    sources = Sources({"second/a": revision()})
    assert await puller(sources).pull("a") == revision()
    assert sources.asked == ["first/a", "second/a"]


async def test_the_first_place_that_has_it_is_the_last_that_is_asked() -> None:
    sources = Sources({"first/team/a": revision(), "second/team/a": revision()})
    await puller(sources).pull("team/a")
    assert sources.asked == ["first/team/a"]


async def test_what_is_missing_everywhere_does_not_exist() -> None:
    error = await refused(puller(Sources()), "a")
    assert isinstance(error, AdapterNotFound)
    assert error.name == "a"


async def test_a_place_that_cannot_be_asked_is_not_a_place_without_it() -> None:
    down = SourceUnavailable("The bucket cannot be read.")
    sources = Sources({"first/a": down, "second/a": revision()})
    assert await refused(puller(sources), "a") is down
    assert sources.asked == ["first/a"]


async def test_what_is_found_and_wrong_is_told_as_it_is() -> None:
    wrong = RankTooLarge("Rank 128.")
    assert await refused(puller(Sources({"first/a": wrong})), "a") is wrong


@pytest.mark.parametrize("name", ["", "../a", "a/b/c", "a b", "a%2e", "{name}", "check", "a\x00"])
async def test_what_cannot_be_a_name_is_never_looked_for(name: str) -> None:
    sources = Sources()
    pulling = puller(sources, reserved={"check"})
    assert isinstance(await refused(pulling, name), AdapterNotFound)
    assert sources.asked == []


async def test_without_templates_nothing_is_looked_for() -> None:
    sources = Sources()
    assert isinstance(await refused(Puller((), sources.pull, deadline_s=5), "a"), AdapterNotFound)


async def test_two_hundred_callers_cost_one_pull() -> None:
    sources = Sources({"first/a": revision()})
    sources.gate.clear()
    pulling = puller(sources)
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        callers = [tasks.create_task(pulling.pull("a")) for _ in range(200)]
        await sources.began.wait()
        sources.gate.set()
    assert {caller.result() for caller in callers} == {revision()}
    assert sources.asked == ["first/a"]


async def test_a_caller_that_goes_does_not_take_the_pull_with_it() -> None:
    sources = Sources({"first/a": revision()})
    sources.gate.clear()
    pulling = puller(sources)
    first = asyncio.create_task(pulling.pull("a"))
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        await sources.began.wait()
        second = tasks.create_task(pulling.pull("a"))
        first.cancel()
        await asyncio.wait([first])
        sources.gate.set()
    assert first.cancelled()
    assert second.result() == revision()
    assert sources.asked == ["first/a"]


async def test_the_failure_of_a_pull_nobody_waits_for_is_remembered_in_silence() -> None:
    sources = Sources()
    sources.gate.clear()
    pulling = puller(sources)
    first = asyncio.create_task(pulling.pull("a"))
    async with asyncio.timeout(5):
        await sources.began.wait()
        first.cancel()
        await asyncio.wait([first])
        sources.gate.set()
        assert isinstance(await refused(pulling, "a"), AdapterNotFound)
    assert sources.asked == ["first/a", "second/a"]


async def test_a_failure_is_remembered_for_five_seconds() -> None:
    sources = Sources()
    pulling = puller(sources)
    for at_s, asked in ((0.0, 2), (4.9, 2), (5.1, 4)):
        sources.now_s = at_s
        assert isinstance(await refused(pulling, "a"), AdapterNotFound)
        assert len(sources.asked) == asked


async def test_an_adapter_that_appears_is_found_once_the_failure_is_forgotten() -> None:
    sources = Sources()
    pulling = puller(sources)
    await refused(pulling, "a")
    sources.found["first/a"] = revision()
    sources.now_s = 6.0
    assert await pulling.pull("a") == revision()


@pytest.mark.parametrize(("asked_s", "silent_s"), [(20.0, 20.0), (3600.0, 60.0), (1.0, 5.0)])
async def test_a_source_that_asks_for_a_pause_gets_it_up_to_a_minute(
    asked_s: float, silent_s: float
) -> None:
    sources = Sources({"first/a": SourceUnavailable("Slower.", retry_after_s=asked_s)})
    pulling = puller(sources)
    for at_s, asked in ((0.0, 1), (silent_s - 0.1, 1), (silent_s + 0.1, 2)):
        sources.now_s = at_s
        await refused(pulling, "a")
        assert len(sources.asked) == asked


async def test_invented_names_cost_bounded_memory() -> None:
    sources = Sources()
    pulling = puller(sources, max_remembered=10)
    for number in range(50):
        await refused(pulling, f"name-{number}")
    before = len(sources.asked)
    await refused(pulling, "name-49")
    assert len(sources.asked) == before
    await refused(pulling, "name-0")
    assert len(sources.asked) == before + 2


async def test_only_a_few_names_are_looked_for_at_once() -> None:
    sources = Sources({f"first/{name}": revision(name) for name in "abcdef"})
    sources.gate.clear()
    pulling = puller(sources, parallel=2)
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        for name in "abcdef":
            tasks.create_task(pulling.pull(name))
        await sources.began.wait()
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(sources.asked) == 2
        sources.gate.set()
    assert len(sources.asked) == 6


async def test_a_pull_ends_at_its_deadline() -> None:
    sources = Sources()
    sources.gate.clear()
    error = await refused(puller(sources, deadline_s=0.05), "a")
    assert isinstance(error, SourceUnavailable)
    assert "within 0.05 seconds" in str(error)
