"""Row T7 in PostgreSQL: no secret of a key is in a dump of the database."""

import subprocess
from pathlib import Path

import pytest
from sqlalchemy import make_url

from support import builders
from support.postgres import program
from support.serving import serve_echo, until_served
from tenancy.test_secrets import SECTIONS, require_none, use_keys

pytestmark = pytest.mark.services


def dump_of(url: str) -> str:
    """Return what ``pg_dump`` says of the database at ``url``."""
    where = make_url(url)
    flags = [f"--host={where.host}", f"--port={where.port}", f"--username={where.username}"]
    command = [program("pg_dump"), *flags, where.database or ""]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


async def test_no_secret_of_a_key_is_in_a_dump(postgres_url: str, tmp_path: Path) -> None:
    builders.write(tmp_path / "adapters" / "acme" / "own", seed=1)
    url = postgres_url.replace("postgresql+asyncpg", "postgresql")
    async with serve_echo(tmp_path, state={"url": url}, **SECTIONS) as served:
        await until_served(served, "acme/own")
        used = await use_keys(served)
    dump = dump_of(url)
    for key_id in used.ids:
        assert key_id in dump
    require_none(used, dump)
