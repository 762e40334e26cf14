"""The catalog's SQLite file: locked, read-only, full, damaged, newer, half migrated."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import httpx
import pytest

from support import disks
from support.operating import ECHO, NEAR_S, ask, change, chat, fault, publish, refused, start
from support.serving import POLL_S, Served, start_process

pytestmark = pytest.mark.slow


@contextmanager
def locked(state: Path) -> Iterator[None]:
    with closing(sqlite3.connect(state / "catalog.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield


def disk_for(folder: Path, trouble: Callable[[Path], Any]) -> AbstractContextManager[None]:
    if trouble is not disks.filled:
        folder.mkdir()
        return nullcontext()
    if disks.mounted not in disks.DISKS:
        pytest.skip("may not mount a small disk")
    return disks.mounted(folder)


def use_up_the_log(served: Served, state: Path) -> None:
    """Change something until SQLite's log grows: until then it needs no room on the disk."""
    log = state / "catalog.db-wal"
    before_bytes = log.stat().st_size
    for _ in range(200):
        for pinned in (True, False):
            assert ask(served, "PATCH", "adapters/mine", {"pinned": pinned}).status_code == 200
        if log.stat().st_size > before_bytes:
            return
    pytest.fail("the log does not grow")


TROUBLES = [(locked, (503, "state_busy")), (disks.filled, (503, "adapter_unavailable"))]


@pytest.mark.parametrize(("trouble", "told"), TROUBLES, ids=["locked", "full"])
def test_d2_a_catalog_that_cannot_be_written_is_told_to_admins_and_clients_are_served(
    tmp_path: Path, trouble: Callable[[Path], Any], told: tuple[int, str]
) -> None:
    state = tmp_path / "disk"
    environ = {"VENEER_STATE__DIR": str(state), "VENEER_ADAPTERS__STORE": str(tmp_path / "store")}
    with disk_for(state, trouble), start_process(tmp_path, flags=ECHO, environ=environ) as served:
        assert publish(served, 0).status_code == 201
        assert publish(served, 1).status_code == 201
        use_up_the_log(served, state)
        with trouble(state):
            refused = change(served)
            assert fault(refused) == told
            assert trouble is locked or "disk that it is on is full" in refused.text
            assert fault(publish(served, 2)) == told
            assert chat(served) == 200
            assert ask(served, "GET", "adapters/mine").json()["pinned"] is False
            # That somebody else writes is no reason to send clients away.
            assert is_ready(served) is (trouble is locked)
        until_ready(served)
        assert change(served).status_code == 200
        assert publish(served, 2).json()["number"] == 3
        assert chat(served) == 200


def is_ready(served: Served) -> bool:
    return httpx.get(f"{served.url}/readyz").status_code == 200


def until_ready(served: Served) -> None:
    ends_s = time.monotonic() + NEAR_S
    while not is_ready(served):
        assert time.monotonic() < ends_s, "the server stays unready"
        time.sleep(POLL_S)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder in which one adapter was published."""
    folder = tmp_path_factory.mktemp("made")
    with start_process(folder, flags=ECHO) as served:
        assert publish(served, 0).status_code == 201
    return folder


def garbage_first(database: Path) -> None:
    content = database.read_bytes()
    database.write_bytes(b"not a database at all, " * 4 + content[92:])


def garbage_inside(database: Path) -> None:
    content = bytearray(database.read_bytes())
    content[4096 : 4096 * 4] = os.urandom(4096 * 3)
    database.write_bytes(content)


def cut_off(database: Path) -> None:
    os.truncate(database, 6000)


def newer(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")


def contradicting(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("""UPDATE aliases SET record = replace(record, '"revision', '"x')""")


SPOILED = [garbage_first, garbage_inside, cut_off, newer, contradicting]


@pytest.mark.parametrize("spoil", SPOILED)
def test_d3_a_catalog_that_cannot_be_understood_ends_the_start_with_78_and_is_left_as_it_is(
    tmp_path: Path, made: Path, spoil: Callable[[Path], None]
) -> None:
    shutil.copytree(made, tmp_path / "copy")
    database = tmp_path / "copy" / "state" / "catalog.db"
    spoil(database)
    before = database.read_bytes()
    sentence = refused(start(tmp_path / "copy"))
    assert "catalog" in sentence.lower()
    assert database.read_bytes() == before


def test_d2_a_catalog_that_may_only_be_read_is_served_and_told_to_admins(
    tmp_path: Path, made: Path
) -> None:
    shutil.copytree(made, tmp_path / "copy")
    database = tmp_path / "copy" / "state" / "catalog.db"
    database.chmod(0o444)
    before = database.read_bytes()
    # Root may write anything, so it has to give that right up first.
    rights = "-dac_override,-dac_read_search,-fowner"
    drop = ["setpriv", "--inh-caps", rights, "--bounding-set", rights]
    wrapper = drop if os.geteuid() == 0 else []
    with start_process(tmp_path / "copy", flags=ECHO, wrapper=wrapper) as served:
        assert chat(served) == 200
        assert fault(change(served)) == (503, "adapter_unavailable")
        assert fault(publish(served, 1)) == (503, "adapter_unavailable")
        assert chat(served) == 200
    assert database.read_bytes() == before


MIGRATE = """
import asyncio, os, signal, sys
from pathlib import Path
import sqlalchemy as sa
from importlib.resources import files
from veneer_adapters.catalog.database import Database, Migrations
further = [Migrations(str(files("veneer_server") / "migrations"), "server_version")]

def migrate(database, left):
    def count(*_):
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    sa.event.listen(sa.Engine, "before_cursor_execute", count)
    asyncio.run(Database.open(Path(database), further=further))
    os._exit(0)

# Each in a process of its own, forked because to import all this again takes most of a second.
for line in sys.stdin:
    left, database = line.strip().split(maxsplit=1)
    child = os.fork()
    if child == 0:
        migrate(database, int(left))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@contextmanager
def migrating() -> Iterator[Callable[[int, Path], int]]:
    """Give a function that migrates a database and dies at a statement, counted from 1; 0: never.

    It returns how that process ended.
    """
    command = [sys.executable, "-c", MIGRATE]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        asked, ended = process.stdin, process.stdout

        def migrate(statement: int, database: Path) -> int:
            print(statement, database, file=asked, flush=True)
            return int(ended.readline())

        try:
            yield migrate
        except BaseException:
            process.kill()
            raise


def test_d3_a_migration_killed_at_any_statement_is_done_by_the_next_start(tmp_path: Path) -> None:
    codes = []
    with migrating() as migrate:
        for n in range(1, 120):
            database = tmp_path / f"{n}.db"
            codes.append(migrate(n, database))
            with closing(sqlite3.connect(database)) as connection:
                tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
            made = {"alembic_version", "clock", "server_version", "responses"}
            assert made <= tables or not tables
            assert migrate(0, database) == 0
            if codes[-1] == 0:
                break
            assert codes[-1] == -signal.SIGKILL
    assert len(codes) > 10
    assert codes[-1] == 0
