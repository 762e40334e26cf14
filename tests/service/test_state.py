"""What is kept between requests: whose it is, what a hang-up leaves, and what bounds it."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.serving import POLL_S, Served, serve_echo
from veneer_server.engine.base import Answer, Call, Endpoint, EngineLost, Frames
from veneer_server.engine.echo import EchoEngine

PATH = "/v1/responses"
KEY = {"authorization": "Bearer mine"}


class Waiting(EchoEngine):
    """Says what it is asked, and generates when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Call] = []
        self.begun = asyncio.Event()
        self.go = asyncio.Event()
        self.given_up = asyncio.Event()
        """Set when the server gave up a request that waited."""

    async def respond(self, call: Call) -> Answer | Frames:
        if call.endpoint is Endpoint.RESPONSES:
            self.asked.append(call)
            self.begun.set()
            try:
                await self.go.wait()
            except asyncio.CancelledError:
                self.given_up.set()
                raise
        return await super().respond(call)


@asynccontextmanager
async def asking(served: Served, **headers: str) -> AsyncIterator[httpx.AsyncClient]:
    found = {**KEY, **headers}
    async with httpx.AsyncClient(base_url=served.url, headers=found, timeout=30) as client:
        yield client


def body(text: Any = "one two", **more: Any) -> dict[str, Any]:
    return {"model": "echo", "input": text, **more}


async def ended(client: httpx.AsyncClient, response_id: str) -> dict[str, Any]:
    async with asyncio.timeout(20):
        while True:
            found: dict[str, Any] = (await client.get(f"{PATH}/{response_id}")).json()
            if found["status"] not in ("queued", "in_progress"):
                return found
            await asyncio.sleep(POLL_S)


async def test_another_key_finds_nothing_and_is_told_the_same(echo: Served) -> None:
    async with asking(echo) as mine, asking(echo, authorization="Bearer other") as other:
        made = (await mine.post(PATH, json=body())).json()
        talk = (await mine.post("/v1/conversations", json={"items": []})).json()["id"]
        theirs = await other.get(f"{PATH}/{made['id']}")
        nobodys = await other.get(f"{PATH}/resp_{'0' * 48}")
        assert theirs.status_code == nobodys.status_code == 404
        unknown = nobodys.text.replace(f"resp_{'0' * 48}", made["id"])
        assert theirs.text == unknown
        for refused in (
            await other.delete(f"{PATH}/{made['id']}"),
            await other.get(f"{PATH}/{made['id']}/input_items"),
            await other.get(f"/v1/conversations/{talk}/items"),
            await other.post(PATH, json=body([{"id": made["output"][0]["id"]}])),
            await other.post(PATH, json=body(conversation=talk)),
        ):
            assert refused.status_code == 404, refused.text
        previous = await other.post(PATH, json=body(previous_response_id=made["id"]))
        assert previous.json()["error"]["code"] == "previous_response_not_found"
        assert (await mine.get(f"{PATH}/{made['id']}")).json() == made


async def test_the_engine_gets_a_request_without_state(tmp_path: Path) -> None:
    engine = Waiting()
    engine.go.set()
    async with serve_echo(tmp_path, engine) as served, asking(served) as client:
        first = (await client.post(PATH, json=body(store=True))).json()
        await client.post(PATH, json=body("three", previous_response_id=first["id"]))
    asked = engine.asked[-1].body
    assert asked["store"] is False
    assert asked.keys() == {"model", "input", "store", "request_id"}
    roles = [item["role"] for item in asked["input"]]
    assert roles == ["user", "assistant", "user"]


async def test_a_client_that_hangs_up_leaves_nothing(tmp_path: Path) -> None:
    engine = Waiting()
    async with serve_echo(tmp_path, engine) as served:
        async with asking(served) as client:
            work = asyncio.create_task(client.post(PATH, json=body(stream=True)))
            await engine.begun.wait()
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            async with asyncio.timeout(20):
                await engine.given_up.wait()
            left = engine.asked[0].body["request_id"]
        engine.go.set()
        async with asking(served) as client:
            assert (await client.get(f"{PATH}/{left}")).status_code == 404


async def test_a_setting_turns_storing_off_unless_it_is_asked_for(tmp_path: Path) -> None:
    off = {"store": False}
    async with serve_echo(tmp_path, conversations=off) as served, asking(served) as client:
        usual = (await client.post(PATH, json=body())).json()
        asked = (await client.post(PATH, json=body(store=True))).json()
        assert (usual["store"], asked["store"]) == (False, True)
        assert (await client.get(f"{PATH}/{usual['id']}")).status_code == 404
        assert (await client.get(f"{PATH}/{asked['id']}")).status_code == 200


async def test_a_cancelled_response_ends_at_once_and_stays_cancelled(tmp_path: Path) -> None:
    engine = Waiting()
    async with serve_echo(tmp_path, engine) as served, asking(served) as client:
        begun = (await client.post(PATH, json=body(background=True))).json()
        await engine.begun.wait()
        assert (await client.get(f"{PATH}/{begun['id']}")).json()["status"] == "in_progress"
        still = await client.post(PATH, json=body(previous_response_id=begun["id"]))
        assert still.status_code == 400
        for _ in range(2):
            cancelled = await client.post(f"{PATH}/{begun['id']}/cancel")
            assert cancelled.json()["status"] == "cancelled"
        assert served.parts is not None
        assert served.parts.server.kept.runs.running() == []
        assert (await ended(client, begun["id"]))["status"] == "cancelled"


async def test_deleting_a_running_response_ends_it(tmp_path: Path) -> None:
    engine = Waiting()
    async with serve_echo(tmp_path, engine) as served, asking(served) as client:
        begun = (await client.post(PATH, json=body(background=True))).json()
        await engine.begun.wait()
        gone = await client.delete(f"{PATH}/{begun['id']}")
        assert gone.json() == {"id": begun["id"], "object": "response", "deleted": True}
        assert served.parts is not None
        assert served.parts.server.kept.runs.running() == []
        assert (await client.get(f"{PATH}/{begun['id']}")).status_code == 404


async def test_no_more_run_in_the_background_than_may(tmp_path: Path) -> None:
    engine, two = Waiting(), {"max_background": 2}
    async with serve_echo(tmp_path, engine, conversations=two) as served, asking(served) as client:
        posted = [await client.post(PATH, json=body(background=True)) for _ in range(2)]
        full = await client.post(PATH, json=body(background=True))
        assert full.status_code == 503
        assert full.json()["error"]["code"] == "server_overloaded"
        assert int(full.headers["retry-after"]) > 0
        engine.go.set()
        for begun in posted:
            assert (await ended(client, begun.json()["id"]))["status"] == "completed"
        assert (await client.post(PATH, json=body(background=True))).status_code == 200


async def test_a_response_that_takes_too_long_fails(tmp_path: Path) -> None:
    engine, short = Waiting(), {"background_timeout_s": 0.2}
    async with (
        serve_echo(tmp_path, engine, conversations=short) as served,
        asking(served) as client,
    ):
        begun = (await client.post(PATH, json=body(background=True))).json()
        failed = await ended(client, begun["id"])
        assert failed["status"] == "failed"
        assert "background_timeout_s" in failed["error"]["message"]


async def test_a_stop_ends_what_runs_and_says_so(tmp_path: Path) -> None:
    engine, short = Waiting(), {"drain_timeout_s": 0}
    async with serve_echo(tmp_path, engine, server=short) as served, asking(served) as client:
        begun = (await client.post(PATH, json=body(background=True))).json()["id"]
        await engine.begun.wait()
    async with serve_echo(tmp_path) as served, asking(served) as client:
        failed = (await client.get(f"{PATH}/{begun}")).json()
        assert failed["status"] == "failed"
        assert "stopped" in failed["error"]["message"]


async def test_a_failed_run_ends_its_stream_and_its_record_alike(tmp_path: Path) -> None:
    engine = EchoEngine(answers={"echo": EngineLost})
    async with serve_echo(tmp_path, engine) as served, asking(served) as client:
        stream = await client.post(PATH, json=body(background=True, stream=True))
        last = json.loads(stream.text.rpartition("data: ")[2])
        assert last["type"] == "response.failed"
        found = (await client.get(f"{PATH}/{last['response']['id']}")).json()
        assert found == last["response"]
        assert found["error"]["code"] == "server_error"


@pytest.mark.slow
async def test_a_locked_database_is_never_passed_over_in_silence(tmp_path: Path) -> None:
    async with serve_echo(tmp_path) as served, asking(served) as client:
        path = tmp_path / "state" / "catalog.db"
        locked = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        # In a thread: the server may be writing, and ends that in this thread.
        await asyncio.to_thread(locked.execute, "BEGIN IMMEDIATE")
        try:
            usual = await client.post(PATH, json=body())
            asked = await client.post(PATH, json=body(store=True))
        finally:
            locked.close()
        assert (usual.status_code, usual.json()["store"]) == (200, False)
        assert asked.status_code == 503
        assert asked.json()["error"]["code"] == "state_unavailable"
        again = await client.post(PATH, json=body())
        assert again.json()["store"] is True


async def test_what_is_impossible_is_refused(echo: Served) -> None:
    async with asking(echo) as client:
        for wrong, param in (
            ({"store": "yes"}, "store"),
            ({"background": 1}, "background"),
            ({"previous_response_id": 7}, "previous_response_id"),
            ({"conversation": {}}, "conversation"),
        ):
            refused = await client.post(PATH, json=body(**wrong))
            assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)
        for wrong, param in (
            ({"items": [{"role": "user", "content": "x"}] * 21}, "items"),
            ({"items": [{"type": "web_search_call"}]}, "items[0]"),
            ({"items": [{"type": ["message"]}]}, "items[0]"),
            ({"items": [{"role": "critic", "content": "x"}]}, "items[0]"),
            ({"items": "x"}, "items"),
            ({"metadata": {"a": 1}}, "metadata"),
            ({"metadata": {str(n): "x" for n in range(17)}}, "metadata"),
        ):
            refused = await client.post("/v1/conversations", json=wrong)
            assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)
        made = (await client.post(PATH, json=body())).json()["id"]
        for query in ("limit=0", "limit=101", "order=up", "after=msg_1"):
            refused = await client.get(f"{PATH}/{made}/input_items?{query}")
            assert refused.status_code == 400, query
        for odd in (client.get(f"{PATH}/resp_%00"), client.post(f"{PATH}/compact", json={})):
            assert (await odd).status_code == 404


async def test_the_base_answers_where_no_model_is_named_unless_one_must_be(tmp_path: Path) -> None:
    unnamed = {"input": "one two", "background": True}
    async with serve_echo(tmp_path / "a") as served, asking(served) as client:
        counted = await client.post(f"{PATH}/input_tokens", json={"input": "one two"})
        assert counted.json() == {"object": "response.input_tokens", "input_tokens": 2}
        begun = (await client.post(PATH, json=unnamed)).json()
        assert begun["model"] == "echo"
        assert (await ended(client, begun["id"]))["status"] == "completed"
    must = {"name_required": True}
    async with serve_echo(tmp_path / "b", model=must) as served, asking(served) as client:
        refused = await client.post(PATH, json=unnamed)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "model")
        counted = await client.post(f"{PATH}/input_tokens", json={"input": "one two"})
        assert counted.status_code == 200


async def test_a_long_chain_is_bounded_like_an_input(echo: Served) -> None:
    async with asking(echo) as client:
        many = [{"role": "user", "content": "x"}] * 1500
        first = (await client.post(PATH, json=body(many))).json()
        second = await client.post(PATH, json=body(many, previous_response_id=first["id"]))
        assert second.status_code == 400
        assert second.json()["error"]["param"] == "input"
