"""The admin routes: adapters are added, published, split, rolled back, pinned and removed."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from support import builders
from support.serving import POLL_S, Served, serve_echo, until_served
from veneer_adapters.catalog.proof import Effect
from veneer_server.engine.echo import EchoEngine

NOTHING = Effect(modules=2, largest_change=0.0, finite=True, repeats=False)
HELLO = [{"role": "user", "content": "hello there"}]


class Api:
    """A client of one server, and folders to publish from."""

    def __init__(self, served: Served, client: httpx.AsyncClient) -> None:
        self.served = served
        self.client = client

    def source(self, seed: int = 0, folder: str = "made", **overrides: object) -> str:
        """Return the path of an adapter inside a root, too deep to be watched."""
        path = self.served.adapters / ".incoming" / f"{folder}{seed}"
        return str(builders.write(path, seed=seed, **overrides))

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Return what must be answered well."""
        found = await self.ask(method, path, body, **headers)
        assert found.is_success, found.text
        return found.json()

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.request(method, f"/v1/adapters{path}", json=body, headers=named)

    async def add(self, name: str, **more: Any) -> Any:
        return await self.call("POST", "", {"name": name, "source": self.source(), **more})

    async def publish(self, name: str, seed: int, **more: Any) -> Any:
        body = {"source": self.source(seed), **more}
        return await self.call("POST", f"/{name.replace('/', '%2F')}/revisions", body)

    async def chat(self, model: str, **more: Any) -> httpx.Response:
        body = {"model": model, "messages": HELLO, **more}
        return await self.client.post("/v1/chat/completions", json=body)

    async def answered_by(self, model: str, **more: Any) -> str:
        """Return the adapter and number that answer ``model``."""
        found = await self.chat(model, **more)
        assert found.status_code == 200, found.text
        return found.headers["x-veneer-adapter"].partition("#")[0]


@asynccontextmanager
async def api_of(folder: Path, **sections: Any) -> AsyncIterator[Api]:
    """Serve the echo engine with its state in ``folder``."""
    engine = EchoEngine(effects={"idle@": NOTHING})
    async with (
        serve_echo(folder, engine, **sections) as served,
        httpx.AsyncClient(base_url=served.url, timeout=30) as client,
    ):
        yield Api(served, client)


@pytest_asyncio.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with api_of(tmp_path) as api:
        yield api


def fault(found: httpx.Response) -> tuple[int, str | None, str | None]:
    error = found.json()["error"]
    return found.status_code, error["code"], error["param"]


async def test_an_added_adapter_is_proved_live_and_answers(api: Api) -> None:
    made = await api.add("mine")
    assert (made["state"], made["live"], made["latest"], made["pinned"]) == (
        "resident",
        1,
        1,
        False,
    )
    [revision] = (await api.call("GET", "/mine/revisions"))["data"]
    assert (revision["state"], revision["rank"], revision["modules"]) == ("ready", 4, 2)
    assert revision["effect"]["largest_change"] > 0
    assert await api.answered_by("mine") == "mine@1"


async def test_a_name_in_a_namespace_is_one_segment_of_a_path(api: Api) -> None:
    await api.add("team/revisions")
    assert (await api.call("GET", "/team%2Frevisions"))["name"] == "team/revisions"
    await api.publish("team/revisions", 1)
    assert await api.answered_by("team/revisions") == "team/revisions@2"
    assert fault(await api.ask("GET", "/team/revisions"))[1] == "model_not_found"


async def test_publishing_moves_live_and_rolling_back_moves_it_back(api: Api) -> None:
    await api.add("mine")
    second = await api.publish("mine", 1)
    assert (second["number"], second["state"]) == (2, "ready")
    assert await api.answered_by("mine") == "mine@2"
    back = await api.call("POST", "/mine/aliases/live/rollback")
    assert (back["targets"][0]["revision"], back["by"]) == (1, "rollback")
    assert await api.answered_by("mine") == "mine@1"
    assert await api.answered_by("mine@2") == "mine@2"
    assert fault(await api.ask("POST", "/mine/aliases/live/rollback"))[:2] == (
        409,
        "adapter_conflict",
    )
    history = (await api.call("GET", "/mine/aliases/live/history"))["data"]
    assert [move["by"] for move in history] == ["rollback", "publish", "publish"]


async def test_content_without_effect_is_refused_unless_that_is_declared(api: Api) -> None:
    body = {"name": "idle", "source": api.source()}
    assert fault(await api.ask("POST", "", body)) == (400, "adapter_invalid", "no_effect")
    assert (await api.call("GET", ""))["data"] == []
    made = await api.call("POST", "", {**body, "allow_no_effect": True})
    assert made["live"] == 1


@pytest.mark.slow
async def test_a_folder_whose_content_has_no_effect_never_answers(api: Api) -> None:
    builders.write(api.served.adapters / "idle")
    async with asyncio.timeout(30):
        while (await api.ask("GET", "/idle")).status_code != 200:
            await asyncio.sleep(POLL_S)
    assert fault(await api.chat("idle")) == (409, "adapter_failed", "model")
    told = await api.call("GET", "/idle")
    assert (told["state"], told["reason"]) == ("failed", "no_effect")


@pytest.mark.slow
async def test_a_canary_gets_its_share_and_keeps_its_users(api: Api) -> None:
    await api.add("mine")
    await api.publish("mine", 1, alias="canary")
    assert await api.answered_by("mine@canary") == "mine@2"
    targets = [{"revision": 1, "weight": 1}, {"revision": 2, "weight": 1}]
    split = {"targets": targets, "sticky": "user"}
    await api.call("PUT", "/mine/aliases/live", split)
    users = [f"user-{index}" for index in range(40)]
    first = [await api.answered_by("mine", user=user) for user in users]
    again = [await api.answered_by("mine", user=user) for user in users]
    assert first == again
    assert 5 < first.count("mine@2") < 35


async def test_an_alias_moves_only_from_the_version_it_is_thought_to_have(api: Api) -> None:
    await api.add("mine")
    await api.publish("mine", 1)
    stale = await api.ask("PUT", "/mine/aliases/live", {"revision": 1}, if_match='"1"')
    assert fault(stale) == (412, "alias_moved", "If-Match")
    moved = await api.ask("PUT", "/mine/aliases/live", {"revision": 1}, if_match='"2"')
    assert moved.headers["etag"] == '"3"'
    for odd in ("soon", "9" * 5000):
        found = await api.ask("PUT", "/mine/aliases/live", {"revision": 1}, if_match=odd)
        assert fault(found) == (400, None, "If-Match")


@pytest.mark.parametrize("alias", ["7", "no good", "a" * 64, ""])
async def test_content_is_not_published_to_what_cannot_be_an_alias(api: Api, alias: str) -> None:
    await api.add("mine")
    found = await api.ask("POST", "/mine/revisions", {"source": api.source(1), "alias": alias})
    assert fault(found) == (400, None, "alias")
    assert len((await api.call("GET", "/mine/revisions"))["data"]) == 1


async def test_an_alias_made_by_hand_proves_what_it_points_to(api: Api) -> None:
    await api.add("mine")
    staged = await api.publish("mine", 1, alias=None)
    assert staged["state"] == "staged"
    card = (await api.client.get("/v1/models/mine@2")).json()
    assert card["adapter"]["state"] == "staged"
    await api.call("PUT", "/mine/aliases/next", {"revision": 2})
    states = [r["state"] for r in (await api.call("GET", "/mine/revisions"))["data"]]
    assert states == ["ready", "ready"]
    assert await api.answered_by("mine@next") == "mine@2"
    await api.call("DELETE", "/mine/aliases/next")
    assert fault(await api.chat("mine@next"))[1] == "model_not_found"


BAD_ALIASES: list[tuple[dict[str, Any], str]] = [
    ({}, "revision"),
    ({"revision": 1, "targets": []}, "revision"),
    ({"revision": 9}, "targets_impossible"),
    ({"targets": []}, "targets_impossible"),
    ({"revision": "1"}, "revision"),
    ({"revision": 1, "color": "red"}, "color"),
    ({"revision": 1, "guard": {"min_requests": 5, "margin": 0.1}}, "targets_impossible"),
]


@pytest.mark.parametrize(("body", "param"), BAD_ALIASES, ids=str)
async def test_an_impossible_alias_is_refused_by_field(
    api: Api, body: dict[str, Any], param: str
) -> None:
    await api.add("mine")
    found = await api.ask("PUT", "/mine/aliases/live", body)
    assert (found.status_code, found.json()["error"]["param"]) == (400, param)
    bad_name = await api.ask("PUT", "/mine/aliases/7", {"revision": 1})
    assert fault(bad_name)[2] == "alias"


async def test_a_name_that_is_taken_is_a_conflict(api: Api) -> None:
    await api.add("mine")
    again = await api.ask("POST", "", {"name": "mine", "source": api.source(1)})
    assert fault(again) == (409, "adapter_exists", "name")


async def test_a_request_sent_twice_acts_once(api: Api) -> None:
    body = {"name": "mine", "source": api.source()}
    first, second = await asyncio.gather(
        *(api.ask("POST", "", body, idempotency_key="k1") for _ in range(2))
    )
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json() == second.json()
    assert {"idempotent-replayed"} & (first.headers.keys() | second.headers.keys())
    other = await api.ask("POST", "", {**body, "name": "other"}, idempotency_key="k1")
    assert fault(other) == (409, "idempotency_key_reused", "Idempotency-Key")


async def test_a_request_that_failed_may_be_sent_again_with_its_key(api: Api) -> None:
    body = {"name": "mine", "source": api.source(use_dora=True)}
    assert (await api.ask("POST", "", body, idempotency_key="k1")).status_code == 400
    assert (
        await api.ask("POST", "", {**body, "source": api.source()}, idempotency_key="k1")
    ).status_code == 201


async def test_what_a_server_that_died_did_with_a_key_is_not_done_again(api: Api) -> None:
    await api.add("mine")
    await api.publish("mine", 1)
    assert api.served.parts is not None
    path = "/v1/adapters/mine/aliases/live/rollback"
    asked = hashlib.sha256(f"POST {path}\n{{}}".encode()).hexdigest()
    await api.served.parts.server.replays.begin("k1", asked)
    found = await api.ask("POST", "/mine/aliases/live/rollback", idempotency_key="k1")
    assert fault(found)[:2] == (409, "idempotency_outcome_unknown")
    assert await api.answered_by("mine") == "mine@2"


async def test_what_is_not_waited_for_is_told_until_it_is_done(api: Api) -> None:
    begun = await api.ask("POST", "", {"name": "mine", "source": api.source(), "wait": False})
    assert begun.status_code == 202
    assert begun.json()["state"] == "staging"
    async with asyncio.timeout(30):
        while (told := await api.call("GET", "/mine"))["progress"]:
            await asyncio.sleep(POLL_S)
    assert told["live"] == 1


async def test_what_fails_while_nobody_waits_is_told_by_the_adapter(api: Api) -> None:
    source = api.source(use_dora=True)
    await api.call("POST", "", {"name": "mine", "source": source, "wait": False})
    async with asyncio.timeout(30):
        while (told := await api.call("GET", "/mine"))["progress"]:
            await asyncio.sleep(POLL_S)
    assert (told["state"], told["reason"]) == ("failed", "unsupported_feature")
    await api.call("DELETE", "/mine")
    assert (await api.ask("GET", "/mine")).status_code == 404


async def test_a_pin_is_remembered_and_keeps_an_adapter_loaded(api: Api) -> None:
    await api.add("mine", pinned=True)
    assert (await api.call("GET", "/mine"))["pinned"]
    assert fault(await api.ask("POST", "/mine/unload"))[:2] == (409, "adapter_conflict")
    await api.call("PATCH", "/mine", {"pinned": False})
    assert (await api.call("POST", "/mine/unload"))["state"] in ("evicting", "ready")
    assert (await api.call("POST", "/mine/load"))["state"] == "resident"


async def test_a_pin_asked_for_with_a_new_adapter_is_kept_though_nobody_waits(api: Api) -> None:
    body = {"name": "mine", "source": api.source(), "pinned": True, "wait": False}
    await api.call("POST", "", body)
    async with asyncio.timeout(30):
        while not (told := await api.call("GET", "/mine"))["live"]:
            await asyncio.sleep(POLL_S)
    assert told["pinned"]


async def test_a_path_that_leads_nowhere_is_refused_as_missing(api: Api) -> None:
    nowhere = str(api.served.adapters / "nowhere")
    found = await api.ask("POST", "", {"name": "mine", "source": nowhere})
    assert fault(found) == (400, "adapter_invalid", "missing_file")


async def test_a_removed_adapter_answers_404_and_its_numbers_go_on(api: Api) -> None:
    await api.add("mine")
    assert await api.call("DELETE", "/mine") == {
        "name": "mine",
        "object": "adapter",
        "deleted": True,
    }
    assert fault(await api.chat("mine"))[1] == "model_not_found"
    again = await api.call("POST", "", {"name": "mine", "source": api.source(1)})
    assert again["live"] == 2


async def test_a_listing_comes_in_pages(api: Api) -> None:
    for name in "abc":
        await api.add(name)
    first = await api.call("GET", "?limit=2")
    assert ([a["name"] for a in first["data"]], first["has_more"], first["next"]) == (
        ["a", "b"],
        True,
        "b",
    )
    rest = await api.call("GET", "?limit=2&after=b")
    assert ([a["name"] for a in rest["data"]], rest["has_more"]) == (["c"], False)
    for query in ("?limit=0", "?limit=x", f"?limit={'9' * 5000}", "?after=zzz"):
        assert (await api.ask("GET", query)).status_code == 400


BAD_ADDS: list[tuple[dict[str, Any], str]] = [
    ({"source": "x"}, "name"),
    ({"name": "no name", "source": "x"}, "name_not_allowed"),
    ({"name": "check", "source": "x"}, "name_not_allowed"),
    ({"name": "echo", "source": "x"}, "name_not_allowed"),
    ({"name": "a", "source": "/etc"}, "path_not_allowed"),
    ({"name": "a", "source": "/" + "a" * 300}, "path_not_allowed"),
    ({"name": "a", "source": "file:///etc"}, "source_not_allowed"),
    ({"name": "a", "source": "hf://org/name"}, "source_not_allowed"),
    ({"name": "a", "source": "https://127.0.0.1/a/"}, "source_not_allowed"),
    ({"name": "a", "source": "s3://bucket/a"}, "source_not_allowed"),
    ({"name": "a", "source": 5}, "source"),
    ({"name": "a", "source": "x", "force": True}, "force"),
]


@pytest.mark.parametrize(("body", "param"), BAD_ADDS, ids=str)
async def test_what_cannot_be_added_is_refused_with_a_reason(
    api: Api, body: dict[str, Any], param: str
) -> None:
    found = await api.ask("POST", "", body)
    assert (found.status_code, found.json()["error"]["param"]) == (400, param)
    assert (await api.call("GET", ""))["data"] == []


async def test_everything_survives_a_restart(tmp_path: Path) -> None:
    async with api_of(tmp_path) as api:
        await api.add("mine", pinned=True)
        await api.publish("mine", 1)
        await api.call("POST", "/mine/aliases/live/rollback")
        await api.chat("mine")
        before = await api.call("GET", "/mine")
    async with api_of(tmp_path) as api:
        assert await api.call("GET", "/mine") == before
        assert before["state"] == "resident"
        assert "x-veneer-cold-start-ms" not in (await api.chat("mine")).headers
        assert await api.answered_by("mine") == "mine@1"


async def test_what_was_used_most_is_loaded_before_the_server_is_ready(tmp_path: Path) -> None:
    slots = {"device_slots": 1, "host_slots": 2}
    async with api_of(tmp_path, adapters=slots) as api:
        for name, times in (("often", 3), ("seldom", 1)):
            await api.add(name)
            for _ in range(times):
                await api.chat(name)
    async with api_of(tmp_path, adapters=slots) as api:
        assert (await api.call("GET", "/often"))["state"] == "resident"


@pytest.mark.slow
async def test_a_folder_removed_by_request_stays_removed_until_its_content_changes(
    tmp_path: Path,
) -> None:
    async def names(served: Served) -> list[str]:
        async with httpx.AsyncClient(base_url=served.url) as client:
            return [a["name"] for a in (await Api(served, client).call("GET", ""))["data"]]

    builders.write(tmp_path / "adapters" / "mine")
    async with serve_echo(tmp_path) as served:
        await until_served(served, "mine")
        async with httpx.AsyncClient(base_url=served.url) as client:
            await Api(served, client).call("DELETE", "/mine")
    builders.write(tmp_path / "adapters" / "other")
    async with serve_echo(tmp_path) as served:
        await until_served(served, "other")
        assert await names(served) == ["other"]
        builders.write(tmp_path / "adapters" / "mine", seed=1)
        await until_served(served, "mine", "other")


async def test_a_source_that_is_not_allowed_is_refused_before_anything_begins(api: Api) -> None:
    for source in ("hf://org/name", "/etc"):
        body = {"name": "mine", "source": source, "wait": False}
        assert (await api.ask("POST", "", body)).status_code == 400
    assert (await api.call("GET", ""))["data"] == []
