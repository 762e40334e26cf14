"""Compare in the console: what can be asked, and by whom."""

from pathlib import Path
from typing import Any

import pytest

from support import builders
from support.console import KEY, browser, make_key, sign_in
from support.serving import Served, serve_echo, until_served
from veneer_server.tenancy.scopes import Scope

ASK: dict[str, Any] = {
    "models": ["echo", "pirate"],
    "messages": [{"role": "user", "content": "one two"}],
    "seed": 1,
}
TO = "/console/compare/answers"


async def add(served: Served, *names: str) -> None:
    for number, name in enumerate(names):
        builders.write(served.adapters / name, seed=number)
    await until_served(served, *names)


async def test_the_page_fills_in_the_base_and_what_is_warm(echo: Served) -> None:
    await add(echo, "haiku", "pirate")
    async with browser(echo.url) as client:
        await client.post("/v1/adapters/pirate/load")
        page = (await client.get("/console/compare")).text
        places = [
            page.index(f'list="names" value="{name}"') for name in ("echo", "pirate", "haiku")
        ]
        assert places == sorted(places)
        asked = await client.get("/console/compare", params={"model": ["haiku", '"><b>']})
    assert 'value="haiku"' in asked.text
    assert "<b>" not in asked.text


async def test_with_nothing_to_compare_the_page_says_what_to_do(echo: Served) -> None:
    async with browser(echo.url) as client:
        assert "nothing to compare with yet" in (await client.get("/console/compare")).text


async def test_the_answers_are_those_of_the_api(echo: Served) -> None:
    await add(echo, "pirate")
    async with browser(echo.url) as client:
        here = await client.post(TO, json=ASK)
        there = await client.post("/v1/veneer/compare", json=ASK)
    assert here.headers["content-type"] == there.headers["content-type"]
    assert "script-src 'self'" in here.headers["content-security-policy"]
    for text in (here.text, there.text):
        assert text.count("event: variant.completed") == 2
        assert text.count("event: compare.completed") == 1


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({**ASK, "models": ["nobody"]}, 404),
        ({**ASK, "models": []}, 400),
        ({**ASK, "messages": "x"}, 400),
        ([], 400),
    ],
)
async def test_an_error_is_json_for_the_script(echo: Served, body: Any, status: int) -> None:
    async with browser(echo.url) as client:
        answer = await client.post(TO, json=body)
    assert answer.status_code == status
    assert answer.json()["error"]["message"]


async def test_nobody_else_asks_with_a_visitors_session(tmp_path: Path) -> None:
    async with (
        serve_echo(tmp_path, server={"api_key": KEY}) as served,
        browser(served.url) as client,
    ):
        assert (await client.post(TO, json={**ASK, "models": ["echo"]})).status_code == 401
        await sign_in(client, KEY)
        assert (await client.post(TO, json={**ASK, "models": ["echo"]})).status_code == 200
        for site in ("cross-site", "same-site", "none"):
            foreign = await client.post(TO, json=ASK, headers={"sec-fetch-site": site})
            assert foreign.status_code == 403
            assert "does not come from a page" in foreign.json()["error"]["message"]


async def test_a_key_compares_what_it_may_ask(tmp_path: Path) -> None:
    async with (
        serve_echo(tmp_path, server={"api_key": KEY}) as served,
        browser(served.url) as client,
    ):
        await add(served, "acme/pirate", "zeta/pirate")
        fields: dict[str, Any] = {"tenant": "acme", "patterns": ("base", "acme/*")}
        await sign_in(client, await make_key(served, Scope.INFER, **fields))
        page = (await client.get("/console/compare")).text
        assert "acme/pirate" in page
        assert "zeta" not in page
        answer = await client.post(TO, json={**ASK, "models": ["acme/pirate", "zeta/pirate"]})
        assert answer.text.count("event: variant.completed") == 1
        assert "model_not_found" in answer.text
        await sign_in(client, await make_key(served, Scope.METRICS))
        assert (await client.get("/console/compare")).status_code == 403
        assert (await client.post(TO, json=ASK)).status_code == 403
