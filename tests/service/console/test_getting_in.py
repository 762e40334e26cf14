"""The console: who gets in, and what a browser may do with its pages."""

import re
from pathlib import Path

import httpx
import pytest

from support.console import KEY, browser, make_key, sign_in
from support.serving import Served, serve_echo
from veneer_server.settings import Settings
from veneer_server.tenancy.scopes import Scope


async def test_the_first_page_says_whether_all_is_well(echo: Served) -> None:
    async with browser(echo.url) as client:
        page = await client.get("/console", follow_redirects=True)
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "Serving: well." in page.text
    assert "0 of 32 device slots" in page.text


async def test_a_page_loads_what_it_needs_from_the_server_itself_and_nothing_else(
    echo: Served,
) -> None:
    async with browser(echo.url) as client:
        page = await client.get("/console/")
        linked = re.findall(r'(?:src|href)="(/console/static/[^"]+)"', page.text)
        assert len(linked) >= 4
        for path in linked:
            file = await client.get(path)
            assert file.status_code == 200, path
            assert "immutable" in file.headers["cache-control"]
            assert file.headers["x-content-type-options"] == "nosniff"
    assert not re.findall(r'(?:src|href)="[a-z]+:', page.text)


@pytest.mark.parametrize("path", ["/console/", "/console/sign-in", "/console/nothing"])
async def test_every_answer_tells_the_browser_to_run_nothing_else(echo: Served, path: str) -> None:
    async with browser(echo.url) as client:
        headers = (await client.get(path)).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"


async def test_without_a_key_only_names_of_this_machine_lead_in(echo: Served) -> None:
    async with httpx.AsyncClient(base_url=echo.url) as client:
        refused = await client.get("/console/", headers={"host": "rebound.example"})
        assert refused.status_code == 403
        assert "Serving" not in refused.text
        assert (await client.get("/console/", headers={"host": "localhost"})).status_code == 200


async def test_a_form_of_another_site_changes_nothing(tmp_path: Path) -> None:
    async with (
        serve_echo(tmp_path, server={"api_key": KEY}) as served,
        httpx.AsyncClient(base_url=served.url) as client,
    ):
        for headers in (
            {"sec-fetch-site": "cross-site"},
            {"origin": "https://evil.example"},
            {"origin": "null"},
            {},
        ):
            answer = await client.post("/console/sign-in", data={"key": KEY}, headers=headers)
            assert answer.status_code == 403
            assert "set-cookie" not in answer.headers


async def test_a_key_opens_a_session_that_no_script_reads_and_no_other_site_sends(
    tmp_path: Path,
) -> None:
    async with (
        serve_echo(tmp_path, server={"api_key": KEY}) as served,
        browser(served.url) as client,
    ):
        asked = await client.get("/console/")
        assert asked.status_code == 401
        assert "Serving" not in asked.text
        answer = await sign_in(client, KEY)
        assert answer.status_code == 303
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert "Path=/console" in cookie
        assert KEY not in cookie
        assert "Serving: well." in (await client.get("/console/")).text


async def test_routes_of_the_api_never_take_the_cookie(tmp_path: Path) -> None:
    async with (
        serve_echo(tmp_path, server={"api_key": KEY}) as served,
        browser(served.url) as client,
    ):
        cookie = (await sign_in(client, KEY)).headers["set-cookie"].partition(";")[0]
        for method, path in (
            ("GET", "/v1/models"),
            ("GET", "/v1/adapters"),
            ("POST", "/v1/adapters"),
            ("GET", "/v1/keys"),
            ("POST", "/v1/chat/completions"),
        ):
            answer = await client.request(method, path, headers={"cookie": cookie})
            assert answer.status_code == 401, path


async def test_signing_out_ends_the_session_on_the_server(tmp_path: Path) -> None:
    async with (
        serve_echo(tmp_path, server={"api_key": KEY}) as served,
        browser(served.url) as client,
    ):
        cookie = (await sign_in(client, KEY)).headers["set-cookie"].partition(";")[0]
        assert (await client.post("/console/sign-out")).status_code == 303
        client.cookies.clear()
        kept = await client.get("/console/", headers={"cookie": cookie})
        assert kept.status_code == 401


async def test_signing_in_again_makes_a_new_session_and_ends_the_one_before(
    tmp_path: Path,
) -> None:
    async with (
        serve_echo(tmp_path, server={"api_key": KEY}) as served,
        browser(served.url) as client,
    ):
        planted = {"cookie": f"veneer_session_{client.base_url.port}=of-somebody-else"}
        first = await client.post("/console/sign-in", data={"key": KEY}, headers=planted)
        before = first.headers["set-cookie"].partition(";")[0]
        assert before != planted["cookie"]
        assert (await sign_in(client, KEY)).headers["set-cookie"].partition(";")[0] != before
        client.cookies.clear()
        for cookie in (planted["cookie"], before):
            assert (await client.get("/console/", headers={"cookie": cookie})).status_code == 401


async def test_a_part_of_a_page_that_needs_a_key_lets_the_whole_page_ask(tmp_path: Path) -> None:
    async with (
        serve_echo(tmp_path, server={"api_key": KEY}) as served,
        browser(served.url) as client,
    ):
        part = await client.get("/console/", headers={"hx-request": "true"})
    assert part.status_code == 401
    assert part.headers["hx-refresh"] == "true"


async def test_a_wrong_key_opens_nothing_and_many_are_too_many(tmp_path: Path) -> None:
    tenants = {"auth_failures_per_minute": 3}
    async with (
        serve_echo(tmp_path, server={"api_key": KEY}, tenants=tenants) as served,
        browser(served.url) as client,
    ):
        answers = [await sign_in(client, "wrong") for _ in range(5)]
    assert [a.status_code for a in answers] == [401, 401, 401, 429, 429]
    assert "set-cookie" not in answers[0].headers
    assert "Incorrect API key" in answers[0].text
    assert int(answers[-1].headers["retry-after"]) >= 1


async def test_a_key_sees_what_its_scopes_allow(tmp_path: Path) -> None:
    async with serve_echo(tmp_path, server={"api_key": KEY}) as served:
        key = await make_key(served, Scope.INFER)
        async with browser(served.url) as client:
            await sign_in(client, key)
            refused = await client.get("/console/")
    assert refused.status_code == 403
    assert "Missing scopes: metrics" in refused.text
    assert "Overview</a>" not in refused.text


async def test_a_session_ends_when_its_key_is_revoked(tmp_path: Path) -> None:
    async with serve_echo(tmp_path, server={"api_key": KEY}) as served:
        assert served.parts is not None
        key = await make_key(served, Scope.METRICS)
        async with browser(served.url) as client:
            await sign_in(client, key)
            assert (await client.get("/console/")).status_code == 200
            [made] = served.parts.server.keyring.every()
            await served.parts.server.keyring.revoke(made.id)
            assert (await client.get("/console/")).status_code == 401


@pytest.mark.parametrize("body", [b"", b"key=", b"\xff\xfe", b"a=1&" * 60, b"key=" + b"x" * 20_000])
async def test_what_is_no_form_is_an_error_in_words(echo: Served, body: bytes) -> None:
    async with browser(echo.url) as client:
        answer = await client.post("/console/sign-in", content=body)
    assert answer.status_code in (400, 413)
    assert "This did not work" in answer.text


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_unknown_page_says_so(echo: Served, method: str) -> None:
    async with browser(echo.url) as client:
        answer = await client.request(method, "/console/<b>x")
    assert answer.status_code == 404
    assert "<b>" not in answer.text


@pytest.mark.parametrize(
    ("host", "asked", "shown"),
    [
        ("127.0.0.1", None, True),
        ("127.0.0.1", False, False),
        ("0.0.0.0", None, False),  # noqa: S104
        ("0.0.0.0", True, True),  # noqa: S104
    ],
)
def test_beyond_loopback_there_is_no_console_unless_it_is_asked_for(
    host: str, asked: bool | None, shown: bool
) -> None:
    server = {"host": host, "console": asked, "api_key": KEY}
    assert Settings.load(environ={}, flags={"server": server}).server.shows_console() is shown


async def test_without_the_console_nothing_of_it_is_there(tmp_path: Path) -> None:
    async with (
        serve_echo(tmp_path, server={"console": False}) as served,
        httpx.AsyncClient(base_url=served.url) as client,
    ):
        assert "console" not in (await client.get("/")).text
        for path in ("/console", "/console/", "/console/static/console.js"):
            assert (await client.get(path)).status_code == 404


async def test_an_error_that_nobody_expected_shows_nothing_of_itself(
    echo: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert echo.parts is not None

    def broken() -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(echo.parts.server.adapters, "every", broken)
    async with browser(echo.url) as client:
        answer = await client.get("/console/")
    assert answer.status_code == 500
    assert "secret" not in answer.text


@pytest.mark.parametrize("path", ["/console/", "/console/variants", "/console/static/console.js"])
async def test_a_page_answers_head_as_every_route_does(echo: Served, path: str) -> None:
    async with browser(echo.url) as client:
        head, page = await client.head(path), await client.get(path)
    assert head.status_code == 200
    assert head.content == b""
    assert head.headers["content-security-policy"] == page.headers["content-security-policy"]
