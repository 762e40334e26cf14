"""Keys are made, used and revoked over HTTP; each does what its scopes say, and no more."""

from pathlib import Path

import httpx
import pytest
from fastapi.routing import APIRoute

from support.serving import serve_echo
from tenancy.conftest import SCOPES, Tenants
from veneer_server.api.deps import Needs
from veneer_server.app import create_app
from veneer_server.tenancy.errors import KeyNeeded
from veneer_server.tenancy.scopes import Scope

CHAT = {"model": "plain", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}
NEEDS = {
    "infer": ("POST", "/v1/chat/completions", CHAT),
    "models:read": ("GET", "/v1/models", None),
    "adapters:read": ("GET", "/v1/adapters", None),
    "adapters:write": ("POST", "/v1/adapters/plain/load", {}),
    "keys:admin": ("GET", "/v1/keys", None),
    "usage": ("GET", "/v1/usage", None),
    "metrics": ("GET", "/metrics", None),
}
INCLUDED = {"keys:admin": "usage"}


async def test_every_route_declares_what_it_needs(tenants: Tenants) -> None:
    assert tenants.served.parts is not None
    routes = [
        route
        for route in create_app(tenants.served.parts.server).routes
        if isinstance(route, APIRoute)
    ]
    assert len(routes) > 40
    for route in routes:
        found = [d.call for d in route.dependant.dependencies if isinstance(d.call, Needs)]
        assert len(found) == 1, f"{route.methods} {route.path}"
        is_open = found[0].scope is None
        assert is_open == (route.path in OPEN), route.path


OPEN = {"/livez", "/readyz", "/health", "/ping", "/version", "/", "/docs", "/openapi.json"}


@pytest.mark.parametrize("scope", SCOPES)
async def test_a_key_does_what_its_scope_says_and_no_more(tenants: Tenants, scope: str) -> None:
    key = await tenants.key(scopes=[scope])
    for needed, (method, path, body) in NEEDS.items():
        answer = await key.request(method, path, json=body)
        if needed in (scope, INCLUDED.get(scope)):
            assert answer.status_code == 200, (path, answer.text)
        else:
            assert answer.status_code == 403, (path, answer.text)
            assert answer.json()["error"]["code"] == "missing_scope"
            assert needed in answer.json()["error"]["message"]


async def test_a_new_key_may_generate_and_list_and_its_text_is_shown_once(
    tenants: Tenants,
) -> None:
    made = (await tenants.operator.post("/v1/keys", json={"name": "ci", "tenant": "acme"})).json()
    assert made["scopes"] == ["infer", "models:read"]
    assert made["adapters"] == ["base", "*", "acme/*"]
    listed = await tenants.operator.get("/v1/keys")
    assert made["key"] not in listed.text
    assert made["id"] in {key["id"] for key in listed.json()["data"]}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"tenant": "a/b"}, "tenant"),
        ({"tenant": ""}, "tenant"),
        ({"scopes": ["root"]}, "scopes"),
        ({"scopes": []}, "scopes"),
        ({"adapters": ["[a-z]"]}, "adapters"),
        ({"adapters": []}, "adapters"),
        ({"expires_in_s": 0}, "expires_in_s"),
        ({"expires_in_s": 10**12}, "expires_in_s"),
        ({"name": "n" * 201}, "name"),
        ({"admin": True}, "admin"),
    ],
)
async def test_a_key_that_cannot_be_is_refused_by_name(
    tenants: Tenants, body: dict[str, object], param: str
) -> None:
    answer = await tenants.operator.post("/v1/keys", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


async def test_a_revoked_key_opens_nothing_from_then_on(tenants: Tenants) -> None:
    made = (await tenants.operator.post("/v1/keys", json={})).json()
    client = tenants.client(made["key"])
    assert (await client.get("/v1/models")).status_code == 200
    gone = await tenants.operator.delete(f"/v1/keys/{made['id']}")
    assert gone.json() == {"id": made["id"], "object": "api_key.deleted", "deleted": True}
    assert (await client.get("/v1/models")).status_code == 401
    assert (await tenants.operator.delete("/v1/keys/unknown2")).status_code == 404


WRONG = (
    "nothing",
    "vnr_live_aaaaaaaa_" + "A" * 43 + "_000000",
    "' OR '1'='1",
    "sk-the-operators-own-key ",
    "x" * 60_000,
)


@pytest.mark.parametrize("text", WRONG)
async def test_every_key_that_is_no_good_gets_the_same_answer(tenants: Tenants, text: str) -> None:
    expected = (await tenants.client("another").get("/v1/models")).text
    answer = await tenants.client(text.strip()[:50_000]).get("/v1/models")
    if text.strip() == "sk-the-operators-own-key":
        assert answer.status_code == 200
    else:
        assert (answer.status_code, answer.text) == (401, expected)


async def test_a_key_counts_only_where_clients_put_it(tenants: Tenants) -> None:
    made = (await tenants.operator.post("/v1/keys", json={})).json()
    text = made["key"]
    ways: list[tuple[dict[str, str], str]] = [
        ({"authorization": f"Basic {text}"}, ""),
        ({"authorization": text}, ""),
        ({"cookie": f"key={text}"}, ""),
        ({}, f"?api_key={text}&key={text}"),
        ({"authorization": "Bearer wrong", "x-api-key": text}, ""),
    ]
    async with httpx.AsyncClient(base_url=tenants.served.url) as client:
        for headers, query in ways:
            answer = await client.get(f"/v1/models{query}", headers=headers)
            assert answer.status_code == 401, (headers, query)
        for headers in ({"authorization": f"bearer {text}"}, {"x-api-key": text}):
            assert (await client.get("/v1/models", headers=headers)).status_code == 200


async def test_an_expired_key_gets_the_same_answer(tmp_path: Path) -> None:
    async with (
        serve_echo(tmp_path, server={"api_key": "operator"}) as served,
        httpx.AsyncClient(base_url=served.url) as client,
    ):
        assert served.parts is not None
        keyring = served.parts.server.keyring
        _, text = await keyring.create(
            tenant=None, name="", scopes=(Scope.MODELS_READ,), patterns=None, expires=1
        )
        wrong = await client.get("/v1/models", headers={"x-api-key": "no"})
        expired = await client.get("/v1/models", headers={"x-api-key": text})
        assert (expired.status_code, expired.text) == (401, wrong.text)


async def test_with_the_first_key_the_server_asks_for_one(tmp_path: Path) -> None:
    async with (
        serve_echo(tmp_path) as served,
        httpx.AsyncClient(base_url=served.url) as client,
    ):
        refused = await client.post("/v1/keys", json={"name": "first"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "last_admin_key")
        assert (await client.get("/v1/models")).status_code == 200
        made = await client.post("/v1/keys", json={"scopes": ["keys:admin"]})
        assert made.status_code == 201
        assert (await client.get("/v1/models")).status_code == 401
        assert (await client.get("/metrics")).status_code == 401
        assert (await client.get("/livez")).status_code == 200
        sent = {"authorization": f"Bearer {made.json()['key']}"}
        last = await client.delete(f"/v1/keys/{made.json()['id']}", headers=sent)
        assert (last.status_code, last.json()["error"]["code"]) == (409, "last_admin_key")


async def test_beyond_loopback_no_server_starts_without_a_key(tmp_path: Path) -> None:
    beyond = {"host": "0.0.0.0"}  # noqa: S104 - bound by nobody
    with pytest.raises(KeyNeeded, match=r"server\.api_key"):
        async with serve_echo(tmp_path, server=beyond):
            pytest.fail("it started")
    async with serve_echo(tmp_path, server={**beyond, "api_key": "operator"}) as served:
        assert served.parts is not None
        await served.parts.server.keyring.create(
            tenant=None, name="", scopes=(Scope.KEYS_ADMIN,), patterns=None, expires=None
        )
    async with (
        serve_echo(tmp_path, server=beyond) as served,
        httpx.AsyncClient(base_url=served.url) as client,
    ):
        assert (await client.get("/v1/models")).status_code == 401


async def test_no_key_is_ever_logged(tenants: Tenants, capsys: pytest.CaptureFixture[str]) -> None:
    made = (await tenants.operator.post("/v1/keys", json={"tenant": "acme"})).json()
    await tenants.client(made["key"]).get("/v1/models")
    await tenants.client(made["key"]).get("/v1/adapters")
    logged = "".join(capsys.readouterr())
    assert made["id"] in logged
    assert made["key"].split("_", 3)[3][:43] not in logged
