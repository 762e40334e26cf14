"""Every adapter in the console: the table, the page of one, and what its forms do."""

import asyncio
import html
from pathlib import Path

import httpx
import pytest

from support import builders
from support.console import KEY, browser, make_key, sign_in
from support.serving import POLL_S, Served, serve_echo, until_served
from veneer_adapters.artifact.files import FILES
from veneer_adapters.catalog.entry import Arrival
from veneer_adapters.catalog.revision import Source
from veneer_server.console.advice import ADVICE
from veneer_server.console.figures import history
from veneer_server.tenancy.scopes import Scope

HELLO = {"messages": [{"role": "user", "content": "hi"}], "stream": True}
XSS = [
    "<img src=x onerror=alert(1)>",
    '"><script>alert(1)<',
    "{{ 7 * 7 }}",
    "a' onmouseover='alert(1)",
]


async def add(served: Served, *names: str) -> None:
    for number, name in enumerate(names):
        builders.write(served.adapters / name, seed=number)
    await until_served(served, *names)


async def act(client: httpx.AsyncClient, action: str, **fields: str) -> httpx.Response:
    return await client.post(f"/console/variants/{action}", data=fields, follow_redirects=True)


async def until_listed(client: httpx.AsyncClient, name: str, text: str) -> str:
    """Return the page of an adapter when it says ``text``."""
    async with asyncio.timeout(60):
        while True:
            page = await client.get(f"/console/variants/{name}")
            if page.status_code == 200 and text in page.text:
                return page.text
            await asyncio.sleep(POLL_S)


async def test_without_an_adapter_the_table_says_how_to_add_one(echo: Served) -> None:
    async with browser(echo.url) as client:
        page = (await client.get("/console/variants")).text
    assert "There is no adapter yet" in page
    assert str(echo.adapters) in page


async def test_the_table_shows_each_adapter_with_its_figures(echo: Served) -> None:
    await add(echo, "haiku", "pirate")
    async with browser(echo.url) as client:
        answer = await client.post("/v1/chat/completions", json={"model": "pirate", **HELLO})
        assert answer.status_code == 200
        page = (await client.get("/console/variants?sort=requests_per_s&backwards=1")).text
    first, second = page.split("<tr>")[2:]
    assert 'href="/console/variants/pirate"' in first
    assert "resident" in first
    assert "<td>device</td>" in first
    assert " ms</td>" in first
    assert 'href="/console/variants/haiku"' in second
    assert "staged" in second
    assert "<td>device</td>" not in second


async def test_the_last_use_of_an_adapter_is_known_once_it_was_written_down(echo: Served) -> None:
    await add(echo, "pirate")
    assert echo.parts is not None
    async with browser(echo.url) as client:
        await client.post("/v1/chat/completions", json={"model": "pirate", **HELLO})
        await echo.parts.usage.flush()
        assert "just now" in (await client.get("/console/variants")).text


async def test_what_fits_no_filter_leads_back(echo: Served) -> None:
    await add(echo, "haiku")
    async with browser(echo.url) as client:
        page = await client.get("/console/variants?text=nothing")
        assert "Show all" in page.text
        assert (await client.get("/console/variants?sort=secrets")).status_code == 400


async def test_a_script_gets_the_changing_part_only(echo: Served) -> None:
    await add(echo, "haiku")
    async with browser(echo.url) as client:
        for path in ("/console/variants", "/console/variants/haiku", "/console/"):
            part = await client.get(path, headers={"hx-request": "true"})
            assert part.text.startswith("<div id=")
            assert "<html" not in part.text


async def test_the_page_of_an_adapter_says_what_it_is_and_where_it_was(echo: Served) -> None:
    await add(echo, "pirate")
    async with browser(echo.url) as client:
        await act(client, "load", name="pirate")
        builders.write(echo.adapters / "pirate", seed=9)
        page = await until_listed(client, "pirate", "live is revision 2")
        [newest, _] = (await client.get("/v1/adapters/pirate/revisions")).json()["data"]
    assert newest["digest"][: len("sha256:") + 12] in page
    assert "pirate@live" in page
    assert "Roll back to revision 1" in page
    assert "largest change" in page
    assert html.escape(str(echo.adapters / "pirate")) in page


async def test_the_forms_load_pin_roll_back_and_remove(echo: Served) -> None:
    await add(echo, "pirate")
    assert echo.parts is not None
    adapters = echo.parts.server.adapters
    async with browser(echo.url) as client:
        assert "Loaded" in (await act(client, "load", name="pirate")).text
        assert adapters.get("pirate").state == "resident"
        assert "Pinned" in (await act(client, "pin", name="pirate")).text
        assert adapters.get("pirate").pinned
        refused = await act(client, "unload", name="pirate")
        assert (refused.status_code, "unpin it first" in refused.text) == (409, True)
        assert "No longer pinned" in (await act(client, "unpin", name="pirate")).text
        assert "leaves its slots" in (await act(client, "unload", name="pirate")).text
        builders.write(echo.adapters / "pirate", seed=9)
        await until_listed(client, "pirate", "live is revision 2")
        seen = str(adapters.alias("pirate", "live").version)
        moved = {"name": "pirate", "alias": "live", "version": seen}
        assert "Rolled back" in (await act(client, "rollback", **moved)).text
        assert adapters.alias("pirate", "live").main == 1
        lost = await act(client, "rollback", **moved)
        assert lost.status_code == 412, "another one moved the alias meanwhile"
        assert (await act(client, "remove", name="pirate", confirmed="pirat")).status_code == 400
        assert adapters.knows("pirate")
        removed = await act(client, "remove", name="pirate", confirmed="pirate")
        assert "Removed." in removed.text
        assert not adapters.knows("pirate")


async def test_the_forms_add_an_adapter_and_publish_a_revision(tmp_path: Path) -> None:
    shelf = tmp_path / "shelf"
    source = builders.write(shelf / "source")
    (shelf / ".hidden").mkdir()
    async with (
        serve_echo(tmp_path, adapters={"roots": [shelf]}) as echo,
        browser(echo.url) as client,
    ):
        await until_served(echo, "source")
        added = await act(client, "add", name="new", source=str(source))
        assert added.status_code == 200
        assert "this page says how far that is" in added.text
        await until_listed(client, "new", "live is revision 1")
        published = await act(
            client, "publish", name="new", source=str(builders.write(shelf / "other", seed=3))
        )
        assert "then the alias moves" in published.text
        await until_listed(client, "new", "live is revision 2")
        again = await act(client, "add", name="new", source=str(source))
        assert again.status_code == 409


async def test_what_a_form_changes_is_in_the_audit_log(echo: Served) -> None:
    await add(echo, "pirate")
    assert echo.parts is not None
    async with browser(echo.url) as client:
        await act(client, "pin", name="pirate")
        await act(client, "remove", name="pirate", confirmed="pirate")
    entries = await echo.parts.server.audit.page(0, 100)
    assert [
        (entry.change.action, entry.change.outcome)
        for entry in entries
        if entry.change.actor == "operator"
    ] == [
        ("adapter.pin", "asked"),
        ("adapter.pin", "done"),
        ("adapter.remove", "asked"),
        ("adapter.remove", "done"),
    ]


async def test_one_that_cannot_serve_says_why_and_what_to_do(echo: Served) -> None:
    builders.write(echo.adapters / "cut", weights=b"short")
    async with browser(echo.url) as client:
        page = await until_listed(client, "cut", "It cannot serve.")
        table = (await client.get("/console/variants?state=failed")).text
        assert "<code>truncated</code>" in table
        assert "copy it again and compare the sizes" in page
        assert "No content of it was accepted yet." in page
        refused = await act(client, "load", name="cut")
        assert refused.status_code == 409
        assert "copy it again and compare the sizes" in refused.text


@pytest.mark.parametrize("text", XSS)
async def test_texts_of_strangers_are_texts(echo: Served, text: str) -> None:
    await add(echo, "haiku")
    builders.write(echo.adapters / "bad", base_model_name_or_path=text)
    builders.write(echo.adapters / "worse", peft_type=text)
    builders.write(echo.adapters / text.replace("/", "_"))
    async with browser(echo.url) as client:
        await until_listed(client, "worse", "It cannot serve.")
        pages = [
            await client.get("/console/variants"),
            await client.get("/console/variants", params={"text": text}),
            await client.get("/console/variants/bad"),
            await client.get("/console/variants/worse"),
            await client.get(f"/console/variants/{text}"),
            await act(client, "add", name=text, source=text),
            await act(client, "load", name=text),
            await act(client, "rollback", name="haiku", alias=text, version="1"),
        ]
    for page in pages:
        assert "<img" not in page.text
        assert "<script>" not in page.text
        assert "' onmouseover='" not in page.text
        assert page.status_code < 500


async def test_a_key_sees_and_changes_what_it_may_in_the_api(tmp_path: Path) -> None:
    async with serve_echo(tmp_path, server={"api_key": KEY}) as echo:
        await add(echo, "acme/pirate", "zeta/pirate", "shared")
        reader = await make_key(echo, Scope.ADAPTERS_READ, tenant="acme", patterns=("*", "acme/*"))
        writer = await make_key(
            *(echo, Scope.ADAPTERS_READ, Scope.ADAPTERS_WRITE),
            tenant="acme",
            patterns=("*", "acme/*"),
        )
        async with browser(echo.url) as client:
            await sign_in(client, reader)
            table = (await client.get("/console/variants")).text
            assert "acme/pirate" in table
            assert "zeta" not in table
            assert str(echo.adapters) not in table
            assert (await client.get("/console/variants/zeta/pirate")).status_code == 404
            assert (await act(client, "load", name="acme/pirate")).status_code == 403
            assert "Load now" not in (await client.get("/console/variants/acme/pirate")).text
        async with browser(echo.url) as client:
            await sign_in(client, writer)
            assert (await act(client, "load", name="acme/pirate")).status_code == 200
            assert (await act(client, "load", name="shared")).status_code == 403
            assert (await act(client, "load", name="zeta/pirate")).status_code == 404
            source = str(echo.adapters / "shared")
            assert (await act(client, "add", name="acme/x", source=source)).status_code == 403
            assert (await act(client, "add", name="zeta/x", source=source)).status_code == 403


async def test_without_the_scope_of_metrics_nobody_learns_what_others_ask_for(
    tmp_path: Path,
) -> None:
    async with serve_echo(tmp_path, server={"api_key": KEY}) as echo:
        await add(echo, "shared")
        operator = {"authorization": f"Bearer {KEY}"}
        reader = await make_key(echo, Scope.ADAPTERS_READ)
        async with browser(echo.url) as client:
            await client.post(
                "/v1/chat/completions", json={"model": "shared", **HELLO}, headers=operator
            )
            await sign_in(client, reader)
            pages = [
                await client.get("/console/variants"),
                await client.get("/console/variants/shared"),
            ]
            for page in pages:
                assert page.status_code == 200
                assert " ms</" not in page.text
                assert "just now" not in page.text


async def fill(served: Served, number: int) -> None:
    """Put ``number`` adapters into the catalog that are there on paper only."""
    assert served.parts is not None
    source = Source("https", "https://nowhere.example/")
    await served.parts.catalog.add_all(
        [
            Arrival(f"a{n:04}", f"{n:064x}", Path("/nowhere"), builders.MANIFEST, source)
            for n in range(number)
        ]
    )


async def test_a_table_of_a_thousand_reads_each_thing_once_and_writes_one_page(
    echo: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert echo.parts is not None
    await fill(echo, 1000)
    server, counts = echo.parts.server, dict.fromkeys(("every", "snapshot", "last_used"), 0)

    def counted(holder: object, name: str) -> None:
        real = getattr(holder, name)

        def call(*arguments: object) -> object:
            counts[name] += 1
            return real(*arguments)

        monkeypatch.setattr(holder, name, call)

    counted(server.adapters, "every")
    counted(server.metrics, "snapshot")
    counted(server.usage, "last_used")
    async with browser(echo.url) as client:
        page = (await client.get("/console/variants")).text
        assert page.count('<th scope="row">') == 100
        assert "1 to 100 of 1,000" in page
        assert counts == {"every": 1, "snapshot": 1, "last_used": 1}
        whole = (await client.get("/console/variants?size=1000")).text
        assert whole.count('<th scope="row">') == 1000
        assert "every 30s" in whole
        last = (await client.get("/console/variants?page=10")).text
        assert "901 to 1,000" in last


async def drop(client: httpx.AsyncClient, folder: Path, *names: str, **form: str) -> httpx.Response:
    files = [("file", (name, (folder / name).read_bytes())) for name in names]
    return await client.post(
        "/console/variants/upload", data=form, files=files, follow_redirects=True
    )


async def test_two_files_that_are_dropped_become_an_adapter(echo: Served, tmp_path: Path) -> None:
    first, second = builders.write(tmp_path / "a"), builders.write(tmp_path / "b", seed=7)
    async with browser(echo.url) as client:
        page = await drop(client, first, *FILES, name="pirate")
        assert page.url.path == "/console/variants/pirate"
        assert "Uploaded, verified and proved" in page.text
        assert "live is revision 1" in page.text
        assert "live is revision 2" in (await drop(client, second, *FILES, name="pirate")).text


async def test_what_was_dropped_and_cannot_serve_is_refused_with_what_to_do(
    echo: Served, tmp_path: Path
) -> None:
    folder = builders.write(tmp_path / "cut", weights=b"short")
    async with browser(echo.url) as client:
        refused = await drop(client, folder, *FILES, name="pirate")
        assert refused.status_code == 400
        assert ADVICE["truncated"] in refused.text
        assert (await drop(client, folder, *FILES)).status_code == 400, "it needs a name"
        assert "no adapter_model" in (await drop(client, folder, FILES[0], name="x")).text
        for name in XSS:
            named = await drop(client, folder, *FILES, name=name)
            assert named.status_code == 400
            assert html.escape(name) == name or name not in named.text


async def test_a_tenant_drops_under_its_own_names_only(tmp_path: Path) -> None:
    folder = builders.write(tmp_path / "a")
    async with (
        serve_echo(tmp_path, server={"api_key": KEY}) as served,
        browser(served.url) as client,
    ):
        scopes = (Scope.ADAPTERS_READ, Scope.ADAPTERS_WRITE)
        await sign_in(client, await make_key(served, *scopes, tenant="acme"))
        assert (await drop(client, folder, *FILES, name="pirate")).status_code == 403
        assert (await drop(client, folder, *FILES, name="acme/pirate")).status_code == 200
        await sign_in(client, await make_key(served, Scope.ADAPTERS_READ, tenant="acme"))
        assert (await drop(client, folder, *FILES, name="acme/pirate")).status_code == 403


async def test_the_page_draws_the_last_hour_beside_its_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "STEP_S", 0.05)
    async with serve_echo(tmp_path) as served, browser(served.url) as client:
        await add(served, "pirate")
        await client.post("/v1/chat/completions", json={"model": "pirate", **HELLO})
        page = await until_listed(client, "pirate", "by minute")
        assert "<polyline points=" in page
        assert "The minutes with requests" in page


async def test_the_doctor_reports_on_what_serves_and_on_what_was_refused(echo: Served) -> None:
    await add(echo, "pirate")
    builders.write(echo.adapters / "cut", weights=b"short")
    async with browser(echo.url) as client:
        await until_listed(client, "cut", "truncated")
        well = (await client.get("/console/reports/pirate")).text
        assert "It loads." in well
        assert "veneer adapters check" in well
        bad = (await client.get("/console/reports/cut")).text
        assert "It does not load." in bad
        assert ADVICE["truncated"] in bad
        assert (await client.get("/console/reports/nobody")).status_code == 404


async def test_the_doctor_reports_to_owners_only(tmp_path: Path) -> None:
    async with (
        serve_echo(tmp_path, server={"api_key": KEY}) as served,
        browser(served.url) as client,
    ):
        await add(served, "plain", "acme/pirate")
        await sign_in(
            client,
            await make_key(served, Scope.ADAPTERS_WRITE, tenant="acme", patterns=("*", "acme/*")),
        )
        assert (await client.get("/console/reports/acme/pirate")).status_code == 200
        assert (await client.get("/console/reports/plain")).status_code == 403
