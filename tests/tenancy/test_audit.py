"""Who changed what is written down before and after, and nobody can change that unseen."""

import asyncio
import json
import shutil
import sqlite3
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from support import builders
from support.fine_tuning import JOBS, create
from support.serving import POLL_S, serve_echo
from tenancy.conftest import NAMES, OPERATOR, Tenants
from veneer_server.accounting.records import UsageRecord
from veneer_server.auditing.entries import broken_at

PROGRAM = "from veneer_server.commands.main import main; main()"


async def entries(tenants: Tenants, query: str = "?limit=1000") -> list[dict[str, Any]]:
    found = await tenants.operator.get(f"/v1/audit{query}")
    assert found.status_code == 200, found.text
    rows: list[dict[str, Any]] = found.json()["data"]
    return rows


def told(rows: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    return [(row["action"], row["object"], row["outcome"]) for row in rows]


async def test_each_change_is_written_before_and_after_with_who_made_it(tenants: Tenants) -> None:
    before = len(await entries(tenants))
    made = (await tenants.operator.post("/v1/keys", json={"tenant": "acme", "rpm": 5})).json()
    await tenants.operator.delete(f"/v1/keys/{made['id']}")
    own = tenants.served.adapters / "acme" / "own"
    builders.write(own, seed=77)
    path = "/v1/adapters/acme%2Fown"
    published = await tenants.acme.post(f"{path}/revisions", json={"source": str(own)})
    number = published.json()["number"]
    await tenants.acme.put(f"{path}/aliases/beta", json={"revision": 1})
    await tenants.acme.put(f"{path}/aliases/beta", json={"revision": number})
    await tenants.acme.post(f"{path}/aliases/beta/rollback")
    await tenants.acme.delete(f"{path}/aliases/beta")
    await tenants.acme.patch(path, json={"pinned": True})
    await tenants.operator.delete("/v1/models/bell%2Fown")
    # The folder that the test changes is a watched one too.
    rows = [row for row in (await entries(tenants))[before:] if row["actor"] != "folder"]
    done = [row for row in rows if row["outcome"] != "asked"]
    label = f"acme/own@{number}#{published.json()['digest'][:19]}"
    assert told(done) == [
        ("key.create", made["id"], "done"),
        ("key.revoke", made["id"], "done"),
        ("adapter.publish", label, "done"),
        *[("alias.move", "acme/own@beta", "done")] * 2,
        ("alias.rollback", "acme/own@beta", "done"),
        ("alias.remove", "acme/own@beta", "done"),
        ("adapter.pin", "acme/own", "done"),
        ("adapter.remove", "bell/own", "done"),
    ]
    assert [row["outcome"] for row in rows[::2]] == ["asked"] * len(done)
    assert rows[0]["details"]["limits"]["rpm"] == 5
    assert {row["actor"] for row in done[:2]} == {"operator"}
    assert {row["tenant"] for row in done[2:8]} == {"acme"}
    assert done[2]["actor"] != "operator"
    assert broken_at(await entries(tenants)) is None


async def test_each_change_of_a_fine_tuning_job_is_written_too(tenants: Tenants) -> None:
    job = await create(tenants.acme)
    acts = ("pause", "resume", "cancel")
    answers = [await tenants.acme.post(f"{JOBS}/{job['id']}/{act}") for act in acts]
    rows = [row for row in await entries(tenants) if row["object"] == job["id"]]
    done = [row for row in rows if row["outcome"] != "asked"]
    assert [row["action"] for row in done] == [f"training.{act}" for act in ("create", *acts)]
    # The job may have ended before it was paused.
    worked = [row["outcome"] == "done" for row in done]
    assert worked == [True, *(answer.is_success for answer in answers)]
    assert {row["tenant"] for row in done} == {"acme"}


async def test_what_was_refused_has_the_code_of_its_error(tenants: Tenants) -> None:
    await tenants.operator.delete("/v1/keys/unknown2")
    await tenants.acme.put("/v1/adapters/acme%2Fown/aliases/x", json={"revision": 99})
    outcomes = told(await entries(tenants))[-4:]
    assert outcomes[1] == ("key.revoke", "unknown2", "key_not_found")
    assert outcomes[3] == ("alias.move", "acme/own@x", "adapter_invalid")


async def test_changes_at_once_make_one_chain(tenants: Tenants) -> None:
    await asyncio.gather(*(tenants.key(tenant="acme", name=f"k{i}") for i in range(20)))
    rows = await entries(tenants)
    assert broken_at(rows) is None
    assert [row["number"] for row in rows] == list(range(1, len(rows) + 1))
    assert await entries(tenants, "?after=3&limit=2") == rows[3:5]


async def test_what_the_folders_hold_is_in_the_same_chain_as_what_requests_change(
    tenants: Tenants,
) -> None:
    async def last(action: str) -> dict[str, Any]:
        async with asyncio.timeout(20):
            while True:
                rows = [row for row in await entries(tenants) if row["action"] == action]
                if rows:
                    return rows[-1]
                await asyncio.sleep(POLL_S)

    first = told(await entries(tenants))[: len(NAMES)]
    assert {row[::2] for row in first} == {("adapter.publish", "done")}
    assert {row[1].partition("@")[0] for row in first} == set(NAMES)
    await tenants.key(tenant="acme")
    shutil.rmtree(tenants.served.adapters / "bell" / "secret-plan")
    removed = await last("adapter.remove")
    assert (removed["actor"], removed["object"]) == ("folder", "bell/secret-plan")
    assert (removed["tenant"], removed["request"], removed["outcome"]) == (None, "", "done")
    assert broken_at(await entries(tenants)) is None


async def test_usage_that_is_removed_because_it_is_old_is_written_down(tmp_path: Path) -> None:
    async with (
        serve_echo(tmp_path, server={"api_key": OPERATOR}) as served,
        httpx.AsyncClient(
            base_url=served.url, headers={"authorization": f"Bearer {OPERATOR}"}
        ) as client,
    ):
        assert served.parts is not None
        ledger = served.parts.server.ledger
        await ledger.sweep()
        assert (await client.get("/v1/audit")).json()["data"] == []
        for _ in range(3):
            ledger.note(old_record())
        await ledger.flush()
        await ledger.sweep()
        rows = (await client.get("/v1/audit")).json()["data"]
        assert told(rows) == [("usage.expire", "", "asked"), ("usage.expire", "", "done")]
        assert {row["actor"] for row in rows} == {"server"}
        assert {row["details"]["rows"] for row in rows} == {3}


def old_record() -> UsageRecord:
    return UsageRecord(
        time=1,
        tenant="acme",
        key=None,
        endpoint="chat",
        adapter="acme/own",
        revision=1,
        outcome="completed",
        input_tokens=1,
        cached_tokens=0,
        output_tokens=1,
        queue_s=0,
        cold_start_s=0,
        total_s=0,
    )


async def test_no_key_and_no_source_is_in_the_log(tenants: Tenants) -> None:
    with capture_logs() as logged:
        made = (await tenants.operator.post("/v1/keys", json={"tenant": "acme"})).json()
    secret = made["key"].split("_", 3)[3]
    text = json.dumps(await entries(tenants)) + str(logged)
    assert made["id"] in text
    assert secret not in text
    assert OPERATOR not in text
    assert [line["hash"] for line in logged if line["event"] == "audit"][-1] in text


async def test_a_tenants_key_does_not_read_it(tenants: Tenants) -> None:
    found = await tenants.acme.get("/v1/audit")
    assert (found.status_code, found.json()["error"]["code"]) == (403, "missing_scope")


@pytest.mark.slow
async def test_verify_finds_what_was_changed_and_what_was_cut_off(tenants: Tenants) -> None:
    async def verify(*words: str) -> tuple[int, str]:
        where = ("--url", tenants.served.url, "--key", OPERATOR)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", PROGRAM, "audit", "verify", *words, *where),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(60):
            out, _ = await process.communicate()
        return process.returncode or 0, out.decode().strip()

    rows = await entries(tenants)
    last = f"{len(rows)}:{rows[-1]['hash']}"
    assert await verify() == (0, f"{len(rows)} entries, none changed. The last is {last}")
    assert (await verify("--expect", last))[0] == 0
    assert (await verify("--expect", "nothing"))[0] == 2
    _edit(
        tenants, "DELETE FROM audit_entries WHERE number IN (SELECT max(number) FROM audit_entries)"
    )
    code, out = await verify("--expect", last)
    assert (code, out) == (
        1,
        f"The audit log is whole, but entry {len(rows)} is not the expected one.",
    )
    _edit(tenants, "UPDATE audit_entries SET actor = 'somebody' WHERE number = 2")
    code, out = await verify()
    assert (code, out) == (1, "The audit log is not as it was written, from entry 2 on.")


def _edit(tenants: Tenants, statement: str) -> None:
    catalog: Path = tenants.served.adapters.parent / "state" / "catalog.db"
    with sqlite3.connect(catalog) as connection:
        connection.execute(statement)
    connection.close()
