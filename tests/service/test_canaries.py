"""A guarded canary over real HTTP: what counts, when it goes back, and who else may decide."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from service.test_adapters_api import Api, fault
from support.serving import POLL_S, logging_to_stderr, serve_echo
from veneer_adapters.canaries.tally import Tally
from veneer_adapters.errors import ContentLost
from veneer_server.engine.base import (
    Answer,
    Call,
    EngineError,
    EngineLost,
    Frames,
    RequestRejected,
)
from veneer_server.engine.echo import EchoEngine

pytestmark = pytest.mark.slow  # each waits a second or more

ENOUGH = 4
GUARD = {"min_requests": ENOUGH, "margin": 0.1}
SPLIT = [{"revision": 1, "weight": 1}, {"revision": 2, "weight": 1}]
LOST = EngineLost
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FORMAT = {"type": "json_schema", "json_schema": {"name": "a", "schema": CITY}}
GOOD, BAD = json.dumps({"city": "Oslo"}), json.dumps({"town": "Oslo"})


class Rig(Api):
    """A server whose adapters' answers the test chooses."""

    answers: dict[str, str | type[EngineError]]

    async def split(self, *, revisions: int = 2) -> None:
        """Let ``live`` of ``mine`` point to 1, then to all of its revisions."""
        await self.add("mine")
        for number in range(2, revisions + 1):
            await self.publish("mine", number, alias=None)
            await self.call("PUT", f"/mine/aliases/proved-{number}", {"revision": number})
        targets = [{"revision": n + 1, "weight": 1} for n in range(revisions)]
        await self.call("PUT", "/mine/aliases/live", {"targets": targets, "guard": GUARD})

    def say(self, revision: int, answer: str | type[EngineError]) -> None:
        self.answers[self.revision(revision).engine_name] = answer

    def revision(self, number: int) -> Any:
        assert self.served.parts is not None
        return self.served.parts.catalog.revisions("mine")[number - 1]

    def counted(self) -> dict[int, Tally]:
        assert self.served.parts is not None
        return dict(self.served.parts.guarding.tallies("mine", "live"))

    async def until_counted(self, *wanted: int, **more: Any) -> None:
        """Ask until each of the targets was counted so often, or the alias has moved."""
        async with asyncio.timeout(30):
            while tallies := self.counted():
                if all(t.requests >= w for t, w in zip(tallies.values(), wanted, strict=True)):
                    break
                await self.chat("mine", **more)
                await asyncio.sleep(0)
        assert self.served.parts is not None
        await self.served.parts.guarding.settled()

    async def run(self, *, times: int = ENOUGH, revisions: int = 2, **more: Any) -> dict[str, Any]:
        """Send requests until each target was counted ``times``; return what the alias is then."""
        async with asyncio.timeout(30):
            while not self.counted():
                await self.chat("mine", **more)
                await asyncio.sleep(POLL_S)
        await self.until_counted(*[times] * revisions, **more)
        found: dict[str, Any] = await self.call("GET", "/mine/aliases/live")
        return found


@asynccontextmanager
async def rig_of(folder: Path) -> AsyncIterator[Rig]:
    answers: dict[str, str | type[EngineError]] = {}
    # A traceback on a terminal costs more than the request that it is about.
    with logging_to_stderr("json"):
        async with (
            serve_echo(folder, EchoEngine(answers=answers)) as served,
            httpx.AsyncClient(base_url=served.url, timeout=30) as client,
        ):
            rig = Rig(served, client)
            rig.answers = answers
            yield rig


@pytest_asyncio.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with rig_of(tmp_path) as rig:
        yield rig


def at(alias: dict[str, Any]) -> tuple[list[int], str]:
    return [target["revision"] for target in alias["targets"]], alias["by"]


async def scraped(rig: Rig, reason: str) -> float:
    text = (await rig.client.get("/metrics")).text
    name = f'veneer_alias_rollbacks_total{{adapter="mine",reason="{reason}"}} '
    [line] = [line for line in text.splitlines() if line.startswith(name)]
    return float(line.removeprefix(name))


@pytest.mark.parametrize("stream", [False, True])
async def test_a_canary_whose_requests_fail_is_taken_back_and_reported(
    rig: Rig, stream: bool
) -> None:
    await rig.split()
    rig.say(2, LOST)
    assert at(await rig.run(stream=stream)) == ([1], "guard")
    history = (await rig.call("GET", "/mine/aliases/live/history"))["data"]
    assert [move["by"] for move in history] == ["guard", "move", "publish"]
    assert (await scraped(rig, "errors"), await scraped(rig, "schema")) == (1, 0)
    assert await rig.answered_by("mine") == "mine@1"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("broken", [BAD, '{"city": "Os', "Oslo", ""])
async def test_a_canary_that_breaks_the_schema_is_taken_back(
    rig: Rig, stream: bool, broken: str
) -> None:
    await rig.split()
    rig.say(1, GOOD)
    rig.say(2, broken)
    assert at(await rig.run(stream=stream, response_format=FORMAT)) == ([1], "guard")
    assert (await scraped(rig, "errors"), await scraped(rig, "schema")) == (0, 1)


async def test_an_answer_cut_off_by_its_length_breaks_the_schema(rig: Rig) -> None:
    await rig.split()
    rig.say(1, '{"city":"Oslo"}')
    rig.say(2, '{"city": "Oslo" }')
    found = await rig.run(response_format={"type": "json_object"}, max_tokens=1)
    assert at(found) == ([1], "guard")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_canary_as_good_as_the_baseline_stays(rig: Rig, stream: bool) -> None:
    await rig.split()
    rig.say(1, GOOD)
    rig.say(2, GOOD)
    more = {"stream": stream, "response_format": FORMAT}
    assert at(await rig.run(times=3 * ENOUGH, **more)) == ([1, 2], "move")
    assert all(t.structured == t.requests and not t.broken for t in rig.counted().values())


async def test_text_that_is_not_json_is_no_fault_where_none_was_asked_for(rig: Rig) -> None:
    await rig.split()
    rig.say(1, GOOD)
    assert at(await rig.run(times=2 * ENOUGH)) == ([1, 2], "move")


async def test_an_engine_that_fails_for_both_moves_nothing(rig: Rig) -> None:
    await rig.split()
    rig.say(1, LOST)
    rig.say(2, LOST)
    assert at(await rig.run(times=2 * ENOUGH)) == ([1, 2], "move")


async def test_a_canary_whose_files_are_lost_is_taken_back(rig: Rig) -> None:
    await rig.split()
    assert rig.served.parts is not None
    await rig.served.parts.catalog.refuse(rig.revision(2), ContentLost("Its files are gone."))
    assert fault(await rig.chat("mine@2"))[:2] == (409, "adapter_failed")
    assert at(await rig.run()) == ([1], "guard")


class WaitingEngine(EchoEngine):
    """Begins to answer and never does."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = asyncio.Event()

    async def respond(self, call: Call) -> Answer | Frames:
        self.reached.set()
        return await asyncio.Future()


async def test_a_request_the_client_broke_off_counts_for_neither_side(tmp_path: Path) -> None:
    engine = WaitingEngine()
    async with (
        serve_echo(tmp_path, engine) as served,
        httpx.AsyncClient(base_url=served.url, timeout=30) as client,
    ):
        rig = Rig(served, client)
        await rig.split()
        asking = asyncio.create_task(rig.chat("mine"))
        await engine.reached.wait()
        asking.cancel()
        ended = 'veneer_requests_total{adapter="mine",endpoint="chat",outcome="cancelled"} 1.0'
        async with asyncio.timeout(30):
            while ended not in (await client.get("/metrics")).text:
                await asyncio.sleep(POLL_S)
        assert rig.counted() == {}


async def test_what_is_the_clients_fault_counts_for_neither_side(rig: Rig) -> None:
    await rig.split()
    rig.say(2, RequestRejected)
    for _ in range(40):
        await rig.chat("mine")
        await rig.chat("mine", stream=True)
    assert rig.counted()[2] == Tally()
    assert rig.counted()[1].requests > 0
    assert at(await rig.call("GET", "/mine/aliases/live")) == ([1, 2], "move")


async def test_requests_that_name_a_revision_or_use_no_weights_are_not_counted(rig: Rig) -> None:
    await rig.split()
    rig.say(2, LOST)
    for _ in range(2 * ENOUGH):
        await rig.chat("mine@1")
        await rig.chat("mine@2")
        await rig.client.post("/tokenize", json={"model": "mine", "prompt": "one"})
    assert rig.counted() == {}


async def test_one_bad_canary_of_two_takes_the_whole_alias_back(rig: Rig) -> None:
    await rig.split(revisions=3)
    rig.say(3, LOST)
    assert at(await rig.run(revisions=3)) == ([1], "guard")


async def test_counting_begins_anew_after_a_restart_and_a_verdict_survives_it(
    tmp_path: Path,
) -> None:
    async with rig_of(tmp_path) as rig:
        await rig.split()
        rig.say(1, LOST)
        rig.say(2, LOST)
        await rig.run()
    async with rig_of(tmp_path) as rig:
        assert rig.counted() == {}
        rig.say(2, LOST)
        assert at(await rig.run()) == ([1], "guard")
    async with rig_of(tmp_path) as rig:
        assert at(await rig.call("GET", "/mine/aliases/live")) == ([1], "guard")
        assert await rig.answered_by("mine") == "mine@1"


async def test_a_move_by_hand_begins_the_count_anew(rig: Rig) -> None:
    await rig.split()
    rig.say(1, LOST)
    rig.say(2, LOST)
    await rig.run()
    wider = [{"revision": 1, "weight": 1}, {"revision": 2, "weight": 2}]
    moved = await rig.call("PUT", "/mine/aliases/live", {"targets": wider, "guard": GUARD})
    assert rig.counted() == {}
    del rig.answers[rig.revision(1).engine_name]
    taken = await rig.run()
    assert (at(taken), taken["version"]) == (([1], "guard"), moved["version"] + 1)


async def test_a_move_by_hand_after_the_verdict_wins(rig: Rig) -> None:
    await rig.split()
    rig.say(2, LOST)
    assert at(await rig.run()) == ([1], "guard")
    moved = await rig.call("PUT", "/mine/aliases/live", {"revision": 2})
    assert at(moved) == ([2], "move")
    for _ in range(2 * ENOUGH):
        assert fault(await rig.chat("mine"))[1] == "engine_lost"
    assert await rig.call("GET", "/mine/aliases/live") == moved
