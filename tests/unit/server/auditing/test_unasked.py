"""What a folder, a guard or a setting changes is in the same chain as what requests change."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import sqlalchemy as sa
from structlog.testing import capture_logs

from support import builders
from veneer_adapters.catalog.alias import Target
from veneer_adapters.catalog.catalog import Arrival, Catalog
from veneer_adapters.catalog.database import Database
from veneer_adapters.catalog.proof import Effect
from veneer_adapters.catalog.revision import Source
from veneer_adapters.errors import AdapterUnavailable, NoEffect
from veneer_server.auditing.entries import broken_at
from veneer_server.auditing.log import AuditLog
from veneer_server.conversations.keeping import MIGRATIONS

NOW = 1_700_000_000
PATH = Source("path", "elsewhere")
EFFECT = Effect(2, 1.0, finite=True, repeats=False)

Told = list[tuple[str, str, str, str]]


@pytest_asyncio.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = await Database.open(tmp_path / "catalog.db", further=(MIGRATIONS,))
    yield opened
    await opened.close()


@pytest.fixture
def log(database: Database) -> AuditLog:
    return AuditLog(database, now=lambda: NOW)


@pytest_asyncio.fixture
async def catalog(database: Database, log: AuditLog) -> Catalog:
    return await Catalog.open(database, Path, note=log.note, now=lambda: NOW)


def arrival(digit: str, **more: Any) -> Arrival:
    path = Path(f"/store/{digit}")
    made = Arrival("acme/a", digit * 64, path, builders.MANIFEST, builders.FOLDER)
    return replace(made, **more)


async def told(log: AuditLog) -> Told:
    entries = [entry.as_json() for entry in await log.page(0, 1000)]
    assert broken_at(entries) is None
    assert {(e["tenant"], e["request"], e["time"]) for e in entries} <= {(None, "", NOW)}
    return [(e["actor"], e["action"], e["object"], e["outcome"]) for e in entries]


def label(number: int, digit: str) -> str:
    return f"acme/a@{number}#sha256:{digit * 12}"


async def test_what_a_folder_publishes_changes_and_removes_is_written_down(
    catalog: Catalog, log: AuditLog
) -> None:
    await catalog.add(arrival("1"))
    second = await catalog.add(arrival("2"))
    await catalog.prove(second, EFFECT)
    await catalog.add(arrival("1"))
    await catalog.remove_folder("acme/a")
    publish = ("folder", "adapter.publish")
    assert await told(log) == [
        (*publish, label(1, "1"), "done"),
        (*publish, label(2, "2"), "asked"),
        (*publish, label(2, "2"), "done"),
        (*publish, label(1, "1"), "asked"),
        (*publish, label(1, "1"), "cancelled"),
        ("folder", "adapter.remove", "acme/a", "done"),
    ]


async def test_content_that_the_engine_refuses_ends_with_the_reason(
    catalog: Catalog, log: AuditLog
) -> None:
    await catalog.add(arrival("1"))
    await catalog.refuse(await catalog.add(arrival("2")), NoEffect("It changes nothing."))
    assert (await told(log))[1:] == [
        ("folder", "adapter.publish", label(2, "2"), "asked"),
        ("folder", "adapter.publish", label(2, "2"), "no_effect"),
    ]
    assert [entry.change.outcome for entry in await log.troubles(10)] == ["no_effect"]


async def test_what_is_in_the_folder_still_after_a_restart_is_not_written_again(
    database: Database, catalog: Catalog, log: AuditLog
) -> None:
    await catalog.add(arrival("1"))
    again = await Catalog.open(database, Path, note=log.note)
    await again.add_all([arrival("1")])
    await again.refresh()
    assert len(await told(log)) == 1


async def test_what_requests_change_gets_no_entry_here(catalog: Catalog, log: AuditLog) -> None:
    for digit in "12":
        await catalog.prove(await catalog.add(arrival(digit, source=PATH)), EFFECT)
    await catalog.move("acme/a", "live", (Target(1),))
    await catalog.roll_back("acme/a", "live")
    await catalog.pin("acme/a", pinned=True)
    await catalog.remove("acme/a")
    assert await told(log) == []
    folders = await catalog.add(arrival("3"))
    await catalog.remove("acme/a")
    assert [entry[1:3] for entry in await told(log)] == [("adapter.publish", folders.label)]


async def test_a_canary_that_the_guard_takes_back_is_written_down(
    catalog: Catalog, log: AuditLog
) -> None:
    for digit in "12":
        await catalog.prove(await catalog.add(arrival(digit, source=PATH)), EFFECT)
    await catalog.move("acme/a", "live", (Target(1), Target(2)))
    await catalog.roll_back("acme/a", "live", without=2, by="guard")
    assert await told(log) == [("guard", "alias.rollback", "acme/a@live", "done")]
    [entry] = await log.page(0, 10)
    assert entry.change.details == {"revisions": [1]}
    assert await log.troubles(10) == [entry]


async def test_many_at_once_are_one_chain_in_one_transaction(
    catalog: Catalog, log: AuditLog
) -> None:
    with capture_logs() as logged:
        await catalog.add_all([arrival("1", name=f"acme/{n}") for n in range(50)])
    assert len(await told(log)) == 50
    hashes = [entry.hash for entry in await log.page(0, 50)]
    assert [line["hash"] for line in logged if line["event"] == "audit"] == hashes


async def test_a_change_whose_entry_cannot_be_written_does_not_happen_and_can_be_tried_again(
    database: Database, catalog: Catalog, log: AuditLog
) -> None:
    await _rename(database, "audit_entries", "away")
    with capture_logs() as logged, pytest.raises(AdapterUnavailable):
        await catalog.add(arrival("1"))
    assert not catalog.knows("acme/a")
    assert "audit" not in json.dumps(logged)
    await _rename(database, "away", "audit_entries")
    await catalog.add(arrival("1"))
    assert len(await told(log)) == 1


async def _rename(database: Database, table: str, to: str) -> None:
    async with database.noting() as connection:
        await connection.execute(sa.text(f"ALTER TABLE {table} RENAME TO {to}"))
