"""Rollouts in the console: both sides of an alias, and the moves."""

import html
import json
import re
import shlex
from pathlib import Path

import httpx
import pytest

from support import builders
from support.console import KEY, browser, make_key, sign_in
from support.serving import Served, serve_echo, until_served
from veneer_adapters.catalog.alias import Alias
from veneer_server.tenancy.scopes import Scope

HELLO = {"messages": [{"role": "user", "content": "hi"}]}


async def two_revisions(served: Served, client: httpx.AsyncClient, name: str) -> None:
    builders.write(served.adapters / name)
    await until_served(served, name)
    other = builders.write(served.adapters.parent / "shelf" / "other", seed=3)
    made = await client.post(
        f"/v1/adapters/{name}/revisions",
        json={"source": str(other), "alias": "next"},
        headers={"authorization": f"Bearer {KEY}"},
    )
    assert made.status_code == 201, made.text


def live(served: Served, name: str) -> Alias:
    assert served.parts is not None
    return served.parts.server.adapters.alias(name, "live")


async def move(client: httpx.AsyncClient, **fields: object) -> httpx.Response:
    asked = {"name": "pirate", "alias": "live", "baseline": 1, "canary": 2, **fields}
    return await client.post("/console/rollouts", data=asked, follow_redirects=True)


async def test_without_a_rollout_the_page_says_how_to_begin_one(echo: Served) -> None:
    async with browser(echo.url) as client:
        assert "open its adapter under" in (await client.get("/console/rollouts")).text


async def test_a_rollout_begins_is_counted_and_promoted(tmp_path: Path) -> None:
    roots = {"roots": [tmp_path / "shelf"]}
    async with serve_echo(tmp_path, adapters=roots) as echo, browser(echo.url) as client:
        await two_revisions(echo, client, "pirate")
        assert "Try a revision" in (await client.get("/console/variants/pirate")).text
        version = live(echo, "pirate").version
        begun = await move(client, version=version, share=50, min_requests=99, margin=5)
        assert begun.status_code == 200
        assert "50 %" in begun.text
        assert [(t.revision, t.weight) for t in live(echo, "pirate").targets] == [(1, 50), (2, 50)]
        for _ in range(3):
            await client.post("/v1/chat/completions", json={"model": "pirate", **HELLO})
        assert "0.0 % (0 of " in (await client.get("/console/rollouts")).text
        lost = await move(client, version=version, share=100)
        assert lost.status_code == 412
        assert len(live(echo, "pirate").targets) == 2
        promoted = await move(client, version=version + 1, share=100)
        assert "live is revision 2" in promoted.text
        assert [t.revision for t in live(echo, "pirate").targets] == [2]


async def test_a_rollout_is_returned_to_its_baseline(tmp_path: Path) -> None:
    roots = {"roots": [tmp_path / "shelf"]}
    async with serve_echo(tmp_path, adapters=roots) as echo, browser(echo.url) as client:
        await two_revisions(echo, client, "pirate")
        await move(client, version=live(echo, "pirate").version, share=10)
        await move(client, version=live(echo, "pirate").version, share=0)
        assert [t.revision for t in live(echo, "pirate").targets] == [1]


@pytest.mark.parametrize(
    "fields",
    [
        {"share": "101"},
        {"share": ""},
        {"canary": "-1"},
        {"version": "x"},
        {"sticky": "cookie"},
        {"min_requests": "5", "margin": "500"},
        {"alias": "<img src=x>"},
        {"canary": "77"},
    ],
)
async def test_an_impossible_move_moves_nothing(tmp_path: Path, fields: dict[str, str]) -> None:
    roots = {"roots": [tmp_path / "shelf"]}
    async with serve_echo(tmp_path, adapters=roots) as echo, browser(echo.url) as client:
        await two_revisions(echo, client, "pirate")
        before = live(echo, "pirate")
        refused = await move(client, **{"version": before.version, "share": 10, **fields})
        assert refused.status_code == 400
        assert "<img" not in refused.text
        assert live(echo, "pirate") == before


async def test_a_tenant_moves_only_what_is_its_own(tmp_path: Path) -> None:
    server, roots = {"api_key": KEY}, {"roots": [tmp_path / "shelf"]}
    async with (
        serve_echo(tmp_path, server=server, adapters=roots) as echo,
        browser(echo.url) as client,
    ):
        await two_revisions(echo, client, "pirate")
        scopes = (Scope.ADAPTERS_READ, Scope.ADAPTERS_WRITE)
        await sign_in(client, await make_key(echo, *scopes, tenant="acme", patterns=("*",)))
        version = live(echo, "pirate").version
        assert (await move(client, version=version, share=10)).status_code == 403
        await sign_in(client, await make_key(echo, *scopes, tenant="acme", patterns=("acme/*",)))
        assert (await move(client, version=version, share=10)).status_code == 404
        assert live(echo, "pirate").version == version


async def test_each_move_shows_the_same_for_a_terminal_with_the_version_it_saw(
    tmp_path: Path,
) -> None:
    roots = {"roots": [tmp_path / "shelf"]}
    async with serve_echo(tmp_path, adapters=roots) as echo, browser(echo.url) as client:
        await two_revisions(echo, client, "pirate")
        version = live(echo, "pirate").version
        page = html.unescape((await client.get("/console/variants/pirate")).text)
        assert f"veneer adapters alias pirate@live --if-version {version} --split 1=90,2=10" in page
        await move(client, version=version, share=25, min_requests=9, margin=5, sticky="user")
        page = html.unescape((await client.get("/console/rollouts")).text)
        seen = f"veneer adapters alias pirate@live --if-version {version + 1}"
        options = "--sticky user --guard-requests 9 --guard-margin 0.05"
        assert f"{seen} --split 1=75,2=25 {options}" in page
        assert f"{seen} 2\n" in page.replace("</pre>", "\n")
        lines = re.findall(r"<pre id=\"promote-1-curl\">(.*)</pre>", page)
        words = shlex.split(lines[0])
        sent = {word.partition(": ")[0]: word.partition(": ")[2] for word in words if ": " in word}
        assert words[:3] == ["curl", "-X", "PUT"]
        body = json.loads(words[words.index("-d") + 1])
        headers = {"if-match": sent["If-Match"]}
        assert (await client.put(words[3], json=body, headers=headers)).status_code == 200
        assert [t.revision for t in live(echo, "pirate").targets] == [2]
        assert (await client.put(words[3], json=body, headers=headers)).status_code == 412


async def test_a_rollout_shows_the_last_moves_of_its_alias(tmp_path: Path) -> None:
    roots = {"roots": [tmp_path / "shelf"]}
    async with serve_echo(tmp_path, adapters=roots) as echo, browser(echo.url) as client:
        await two_revisions(echo, client, "pirate")
        await move(client, version=live(echo, "pirate").version, share=10)
        page = (await client.get("/console/rollouts")).text
    assert "1 (weight 90), 2 (weight 10)</td><td>move</td>" in page
