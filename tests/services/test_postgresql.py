"""The PostgreSQL that tests get is a real one, empty, and leaves nothing behind."""

import asyncio
import socket

import pytest
from sqlalchemy import URL, text
from sqlalchemy.ext.asyncio import create_async_engine

from support.postgres import postgresql

pytestmark = pytest.mark.services


async def ask(url: str | URL, *statements: str) -> object:
    engine = create_async_engine(url)
    try:
        async with asyncio.timeout(30), engine.begin() as connection:
            for statement in statements[:-1]:
                await connection.execute(text(statement))
            return (await connection.execute(text(statements[-1]))).scalar_one()
    finally:
        await engine.dispose()


@pytest.mark.parametrize("turn", ["first", "second"])
async def test_every_test_gets_an_empty_database(postgres_url: str, turn: str) -> None:
    assert turn
    made = "CREATE TABLE adapters (name text PRIMARY KEY)"
    added = "INSERT INTO adapters VALUES ('a')"
    assert await ask(postgres_url, made, added, "SELECT count(*) FROM adapters") == 1
    assert await ask(postgres_url, "SELECT name FROM adapters") == "a"


async def test_it_is_postgresql_and_takes_every_letter(postgres_url: str) -> None:
    assert str(await ask(postgres_url, "SELECT version()")).startswith("PostgreSQL")
    assert await ask(postgres_url, "SELECT 'ä→🦙'") == "ä→🦙"


async def test_it_ends_with_its_block_though_somebody_is_connected() -> None:
    with postgresql() as server:
        engine = create_async_engine(server)
        connection = await engine.connect()
    assert server.port is not None
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", server.port)) != 0
    await connection.invalidate()
    await connection.close()
    await engine.dispose()
