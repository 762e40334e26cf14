"""Programs of the system that several tests share."""

from collections.abc import Iterator

import pytest
from sqlalchemy import URL

from postgres import database, postgresql


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[URL]:
    """A PostgreSQL for the whole run."""
    with postgresql() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: URL) -> Iterator[str]:
    """An empty database in it, for SQLAlchemy with asyncpg; gone after the test."""
    with database(postgres_server) as url:
        yield url.render_as_string(hide_password=False)
