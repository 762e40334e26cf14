"""A catalog that is not there although its adapters are: at the start, and while a server runs."""

import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from support.operating import ECHO, NEAR_S, ask, change, chat, fault, publish, refused, start
from support.serving import POLL_S, Served, start_process

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder in which two revisions of one adapter were published."""
    folder = tmp_path_factory.mktemp("made")
    with start_process(folder, flags=ECHO) as served:
        assert publish(served, 0).status_code == 201
        assert publish(served, 1).status_code == 201
    return folder


def unlinked(database: Path) -> None:
    database.unlink()


def emptied(database: Path) -> None:
    database.write_bytes(b"")


def made_anew(database: Path) -> None:
    """What another program, or an older version, leaves where there is no catalog."""
    database.unlink()
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("CREATE TABLE something (id INTEGER)")


@pytest.mark.parametrize("lose", [unlinked, emptied, made_anew])
def test_d3_a_lost_catalog_beside_stored_adapters_ends_the_start_with_78_until_it_may_be_new(
    tmp_path: Path, made: Path, lose: Callable[[Path], None]
) -> None:
    copy = shutil.copytree(made, tmp_path / "copy")
    database = copy / "state" / "catalog.db"
    lose(database)
    for _ in range(2):  # the first refusal must not make what the second one finds
        sentence = refused(start(copy))
        assert "missing or empty" in sentence
        assert "--new-catalog" in sentence
    assert not database.exists() or b"adapters" not in database.read_bytes()
    with start_process(copy, flags=[*ECHO, "--new-catalog"]) as served:
        assert ask(served, "GET", "adapters").json()["data"] == []
        assert publish(served, 0).json()["revisions"] == 1
    with start_process(copy, flags=ECHO) as served:
        assert chat(served) == 200


def test_d3_a_catalog_of_a_backup_is_taken_as_it_is(tmp_path: Path, made: Path) -> None:
    copy = shutil.copytree(made, tmp_path / "copy")
    database = copy / "state" / "catalog.db"
    backup = shutil.copy(database, tmp_path / "backup.db")
    with start_process(copy, flags=ECHO) as served:
        assert publish(served, 2).json()["number"] == 3
    shutil.copy(backup, database)
    with start_process(copy, flags=ECHO) as served:
        assert ask(served, "GET", "adapters/mine").json()["revisions"] == 2
        assert chat(served) == 200


def replaced(database: Path) -> None:
    other = database.with_name("other.db")
    shutil.copy(database, other)
    other.replace(database)


def cut_off(database: Path) -> None:
    with database.open("r+b") as file:
        file.truncate(0)


def without_log(database: Path) -> None:
    database.with_name("catalog.db-wal").unlink()


def overwritten(database: Path) -> None:
    """What ``cp`` does with the database of another server."""
    other = database.with_name("other.db")
    with closing(sqlite3.connect(other)) as connection, connection:
        connection.execute("CREATE TABLE clock (id INTEGER, version INTEGER, identity TEXT)")
        connection.execute("INSERT INTO clock VALUES (1, 1000, 'another')")
    database.write_bytes(other.read_bytes() + bytes(database.stat().st_size))


def until_unready(served: Served) -> None:
    ends_s = time.monotonic() + NEAR_S
    while (found := httpx.get(f"{served.url}/readyz")).status_code == 200:
        assert time.monotonic() < ends_s, "the server stays ready"
        time.sleep(POLL_S)
    assert fault(found) == (503, "state_unwritable")


@pytest.mark.parametrize("lose", [unlinked, replaced, cut_off, without_log, overwritten])
def test_d2_a_catalog_that_is_lost_while_it_is_used_takes_no_change_and_clients_are_served(
    tmp_path: Path, lose: Callable[[Path], None]
) -> None:
    with start_process(tmp_path, flags=ECHO) as served:
        assert publish(served, 0).status_code == 201
        lose(tmp_path / "state" / "catalog.db")
        until_unready(served)
        assert fault(publish(served, 1)) == (503, "adapter_unavailable")
        again = {"source": str(served.adapters / ".incoming" / "0")}
        unchanged = ask(served, "POST", "adapters/mine/revisions", again)
        assert fault(unchanged) == (503, "adapter_unavailable")
        assert fault(change(served)) == (503, "adapter_unavailable")
        assert fault(ask(served, "DELETE", "adapters/mine")) == (503, "adapter_unavailable")
        assert chat(served) == 200
