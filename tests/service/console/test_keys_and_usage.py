"""Keys and usage in the console."""

import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.console import KEY, browser, make_key, sign_in
from support.serving import Served, serve_echo
from veneer_server.tenancy.scopes import Scope

HELLO = {"model": "echo", "messages": [{"role": "user", "content": "one two"}]}


async def create(client: httpx.AsyncClient, **fields: str) -> httpx.Response:
    return await client.post("/console/keys", data=fields)


def text_in(page: httpx.Response) -> str:
    return re.findall(r'<pre id="new-key">([^<]+)</pre>', page.text)[0]


async def test_the_first_key_is_made_without_one_and_then_the_console_asks_for_it(
    echo: Served,
) -> None:
    async with browser(echo.url) as client:
        assert (
            "Everybody who reaches this server is its operator"
            in (await client.get("/console/keys")).text
        )
        refused = await create(client, **{"scope-infer": "1"})
        assert refused.status_code == 409
        assert "keys:admin" in refused.text
        made = await create(client, name="me", **{f"scope-{scope}": "1" for scope in Scope})
        text = text_in(made)
        assert made.headers["cache-control"] == "no-store"
        assert (await client.get("/console/keys")).status_code == 401
        await sign_in(client, text)
        listed = await client.get("/console/keys")
        assert "<td>me</td>" in listed.text
        assert text not in listed.text


async def test_a_key_has_what_the_form_says(tmp_path: Path) -> None:
    async with (
        serve_echo(tmp_path, server={"api_key": KEY}) as served,
        browser(served.url) as client,
    ):
        await sign_in(client, KEY)
        made = await create(
            client,
            name="ci",
            tenant="acme",
            adapters="base  acme/*",
            days="2",
            rpm="7",
            **{"scope-infer": "1", "scope-models:read": "1"},
        )
        headers = {"authorization": f"Bearer {text_in(made)}"}
        assert (await client.get("/v1/models", headers=headers)).status_code == 200
        assert (await client.get("/v1/adapters", headers=headers)).status_code == 403
        operator = {"authorization": f"Bearer {KEY}"}
        [key] = (await client.get("/v1/keys", headers=operator)).json()["data"]
    assert (key["name"], key["tenant"], key["adapters"]) == ("ci", "acme", ["base", "acme/*"])
    assert key["limits"] == {"rpm": 7, "tpm": None, "concurrency": None}
    assert key["expires"] - key["created"] == pytest.approx(2 * 86400, abs=60)


@pytest.mark.parametrize(
    "fields",
    [
        {"tenant": "no/tenant"},
        {"days": "-1"},
        {"days": "9" * 12},
        {"rpm": "x"},
        {"rpm": "0"},
        {"adapters": "<img>"},
        {"name": "x" * 300},
    ],
)
async def test_an_impossible_value_makes_no_key(tmp_path: Path, fields: dict[str, str]) -> None:
    async with (
        serve_echo(tmp_path, server={"api_key": KEY}) as served,
        browser(served.url) as client,
    ):
        await sign_in(client, KEY)
        refused = await create(client, **fields)
        assert refused.status_code == 400
        assert "<img" not in refused.text
        assert served.parts is not None
        assert served.parts.server.keyring.every() == []


async def test_a_key_is_revoked_at_once_and_the_audit_log_has_both(tmp_path: Path) -> None:
    async with (
        serve_echo(tmp_path, server={"api_key": KEY}) as served,
        browser(served.url) as client,
    ):
        await sign_in(client, KEY)
        text = text_in(await create(client, name="<script>x</script>"))
        assert served.parts is not None
        [key] = served.parts.server.keyring.every()
        page = await client.post("/console/keys/revoke", data={"id": key.id}, follow_redirects=True)
        assert "revoked just now" in page.text
        assert "<script>x" not in page.text
        headers = {"authorization": f"Bearer {text}"}
        assert (await client.get("/v1/models", headers=headers)).status_code == 401
        assert (await client.post("/console/keys/revoke", data={"id": "no"})).status_code == 404
        entries = await served.parts.server.audit.page(0, 100)
    actions = [entry.change.action for entry in entries if entry.change.outcome == "done"]
    assert actions == ["key.create", "key.revoke"]


async def test_only_who_may_make_keys_sees_them(tmp_path: Path) -> None:
    async with (
        serve_echo(tmp_path, server={"api_key": KEY}) as served,
        browser(served.url) as client,
    ):
        await sign_in(client, await make_key(served, Scope.USAGE))
        assert (await client.get("/console/keys")).status_code == 403
        assert (await create(client)).status_code == 403
        assert (await client.post("/console/keys/revoke", data={"id": "x"})).status_code == 403
        assert "Keys</a>" not in (await client.get("/console/usage")).text


async def test_usage_is_shown_by_day_and_a_tenant_sees_its_own(tmp_path: Path) -> None:
    async with (
        serve_echo(tmp_path, server={"api_key": KEY}) as served,
        browser(served.url) as client,
    ):
        await sign_in(client, KEY)
        assert "Nothing was used" in (await client.get("/console/usage")).text
        keys: dict[str, Any] = {
            tenant: await make_key(served, Scope.INFER, Scope.USAGE, tenant=tenant)
            for tenant in ("acme", "zeta")
        }
        for key in (*keys.values(), KEY):
            headers = {"authorization": f"Bearer {key}"}
            answer = await client.post("/v1/chat/completions", json=HELLO, headers=headers)
            assert answer.status_code == 200
        assert served.parts is not None
        await served.parts.server.ledger.flush()
        whole = (await client.get("/console/usage?days=31")).text
        for tenant in ("acme", "zeta", "operator"):
            assert f"<td>{tenant}</td>" in whole
        assert whole.count("data-value") == 31 * 5
        assert (await client.get("/console/usage?days=9999")).status_code == 400
        await sign_in(client, keys["acme"])
        own = (await client.get("/console/usage")).text
    assert "<td>acme</td>" in own
    assert "zeta" not in own
    assert 'data-value="1">1</td>' in own
    assert 'data-value="3">3</td>' not in own
