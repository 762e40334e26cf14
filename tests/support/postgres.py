"""A real PostgreSQL for tests: made in a temporary folder, on loopback, gone afterwards."""

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL

from support.serving import POLL_S, free_port

START_S = 60
"""Bound on making the cluster and on its start, each, on a busy machine."""
STOP_S = 30
_HOST, _SUPERUSER = "127.0.0.1", "postgres"
_numbers = itertools.count()


@contextmanager
def postgresql() -> Iterator[URL]:
    """Run a PostgreSQL of its own; yields where SQLAlchemy finds its database ``postgres``.

    What it writes is not flushed: it need not survive anything.
    """
    with tempfile.TemporaryDirectory(prefix="veneer-postgresql-") as made:
        folder, port = Path(made), free_port()
        if _user() is not None:
            shutil.chown(folder, _user())
        _make(folder / "cluster")
        process = _start(folder, port)
        try:
            _wait_until_ready(process, port, folder)
            driver = "postgresql+asyncpg"
            yield URL.create(driver, _SUPERUSER, host=_HOST, port=port, database="postgres")
        finally:
            _stop(process)


@contextmanager
def database(server: URL) -> Iterator[URL]:
    """Make an empty database in ``server`` and remove it, whoever is still connected."""
    name = f"test_{next(_numbers)}"
    where = [f"--host={server.host}", f"--port={server.port}", f"--username={server.username}"]
    _run(program("createdb"), *where, name)
    try:
        yield server.set(database=name)
    finally:
        _run(program("dropdb"), *where, "--force", name)


def program(name: str) -> str:
    """Return where a program of PostgreSQL is; Debian keeps the server's off the PATH."""
    packaged = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    found = str(packaged[-1]) if packaged else shutil.which(name)
    assert found is not None, f"{name} is missing: run scripts/services"
    return found


def _user() -> str | None:
    # PostgreSQL refuses to run as root; Debian's package made this user.
    return _SUPERUSER if os.geteuid() == 0 else None


def _run(*command: str, user: str | None = None) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=START_S, check=False, user=user, cwd="/"
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _make(cluster: Path) -> None:
    flags = ["--auth=trust", f"--username={_SUPERUSER}", "--encoding=UTF8", "--no-locale"]
    _run(program("initdb"), f"--pgdata={cluster}", *flags, "--no-sync", user=_user())


def _start(folder: Path, port: int) -> subprocess.Popen[bytes]:
    options = {
        "listen_addresses": _HOST,
        "port": port,
        "unix_socket_directories": "",
        "fsync": "off",
        "full_page_writes": "off",
    }
    flags = [f"--{name}={value}" for name, value in options.items()]
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            # Ends with the test run, also when that is killed.
            ["setpriv", "--pdeathsig=INT", program("postgres"), "-D", folder / "cluster", *flags],
            stdout=log,
            stderr=log,
            user=_user(),
            cwd="/",
        )


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, folder: Path) -> None:
    ask = [program("pg_isready"), f"--host={_HOST}", f"--port={port}", "--quiet"]
    deadline = time.monotonic() + START_S
    while subprocess.run(ask, timeout=START_S, check=False).returncode != 0:
        log = (folder / "log").read_text()[-3000:]
        assert process.poll() is None, f"PostgreSQL ended:\n{log}"
        assert time.monotonic() < deadline, f"PostgreSQL did not start:\n{log}"
        time.sleep(POLL_S)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)  # "fast": it waits for nobody's connection
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGQUIT)  # its processes end with it, as by SIGKILL not
        process.wait(STOP_S)
        raise
