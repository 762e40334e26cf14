"""The console shows a key what the API answers to the same key, and nothing of another tenant."""

from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from support.batching import create as create_batch
from support.batching import ended, line
from support.console import browser, sign_in
from support.fine_tuning import create as create_job
from support.serving import Served, serve_echo
from tenancy.conftest import OPERATOR, Tenants


def key_of(client: httpx.AsyncClient) -> str:
    return client.headers["authorization"].removeprefix("Bearer ")


async def test_jobs_batches_and_files_are_those_of_the_key(tenants: Tenants) -> None:
    batch = await ended(tenants.acme, (await create_batch(tenants.acme, [line(1)]))["id"])
    job = await create_job(tenants.acme)
    shown = {
        f"/console/training/{job['id']}": job["id"],
        f"/console/batches/{batch['id']}": batch["id"],
        f"/console/files/{batch['output_file_id']}": "line-1",
        "/console/training": job["id"],
        "/console/batches": batch["id"],
    }
    async with AsyncExitStack() as stack:
        views = {}
        for name, key in (
            *(("acme", key_of(tenants.acme)), ("bell", key_of(tenants.bell))),
            ("operator", OPERATOR),
        ):
            views[name] = await stack.enter_async_context(browser(tenants.served.url))
            assert (await sign_in(views[name], key)).status_code == 303
        for path, text in shown.items():
            mine = await views["acme"].get(path)
            assert (mine.status_code, text in mine.text) == (200, True), path
            for name in ("bell", "operator"):
                theirs = await views[name].get(path)
                assert text not in theirs.text.replace(path.rpartition("/")[2], ""), (name, path)
                assert theirs.status_code == (200 if path.count("/") == 2 else 404), (name, path)
        for act, field, id_ in (
            *(("training/cancel", "job", job["id"]), ("training/pause", "job", job["id"])),
            ("batches/cancel", "batch", batch["id"]),
        ):
            answer = await views["bell"].post(f"/console/{act}", data={field: id_})
            assert answer.status_code == 404, act


async def test_two_keys_of_a_tenant_see_the_same(tenants: Tenants) -> None:
    batch = await create_batch(tenants.acme, [line(1)])
    other = await tenants.key(tenant="acme", scopes=["infer"])
    async with browser(tenants.served.url) as view:
        await sign_in(view, key_of(other))
        assert batch["id"] in (await view.get("/console/batches")).text
        assert (await view.get("/console/training")).status_code == 403


async def test_a_job_under_the_name_of_another_tenant_is_refused(tenants: Tenants) -> None:
    async with browser(tenants.served.url) as view:
        await sign_in(view, key_of(tenants.acme))
        sent = {"file": ("rows.jsonl", b"{}\n")}
        refused = await view.post(
            "/console/training/start", files=sent, data={"publish_to": "bell/own"}
        )
    assert refused.status_code == 403
    assert (await tenants.acme.get("/v1/files")).json()["data"] == []


async def test_to_start_a_job_a_key_may_also_send_files(tenants: Tenants) -> None:
    key = await tenants.key(tenant="acme", scopes=["adapters:write"])
    async with browser(tenants.served.url) as view:
        await sign_in(view, key_of(key))
        assert "also needs the scope" in (await view.get("/console/training")).text
        refused = await view.post("/console/training/start", files={"file": ("r", b"{}")})
        assert (refused.status_code, "infer" in refused.text) == (403, True)


@pytest.mark.parametrize("sent", ["", "unused"])
async def test_without_keys_a_visitor_sees_what_requests_with_the_same_text_own(
    echo: Served, sent: str
) -> None:
    headers = {"authorization": f"Bearer {sent}"} if sent else {}
    async with (
        httpx.AsyncClient(base_url=echo.url, headers=headers, timeout=30) as program,
        browser(echo.url) as view,
    ):
        batch = await create_batch(program, [line(1)])
        before = (await view.get("/console/batches")).text
        assert (batch["id"] in before) == (sent == "")
        if sent:
            await sign_in(view, sent)
            assert batch["id"] in (await view.get("/console/batches")).text


async def test_who_typed_any_text_before_there_was_a_key_is_asked_for_one(
    tmp_path: Path,
) -> None:
    async with serve_echo(tmp_path) as served, browser(served.url) as view:
        await sign_in(view, "anything")
        assert (await view.get("/console/batches")).status_code == 200
        every = {f"scope-{scope}": "1" for scope in ("infer", "keys:admin")}
        assert (await view.post("/console/keys", data=every)).status_code == 200
        assert (await view.get("/console/batches")).status_code == 401
