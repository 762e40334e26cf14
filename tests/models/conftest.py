"""What a run of the models has seen."""

import pytest

from models import matrix

SEEN = pytest.StashKey[matrix.Results]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--record", action="store_true", help="write results.json and docs/models.md")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[SEEN] = {}


def pytest_sessionfinish(session: pytest.Session) -> None:
    if session.config.getoption("--record", False):
        matrix.record(session.config.stash.get(SEEN, {}))


@pytest.fixture(scope="session")
def seen(pytestconfig: pytest.Config) -> matrix.Results:
    """What this run has seen so far."""
    return pytestconfig.stash[SEEN]
