"""Who changed what is written down before and after, and nobody can change that unseen."""

import asyncio
import json
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from support import builders
from tenancy.conftest import OPERATOR, Tenants
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
    rows = (await entries(tenants))[before:]
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
