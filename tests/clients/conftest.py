"""The two servers that the clients are run against, and what was seen of them."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from clients import environments, matrix
from clients.running import World
from support.places import DEMO
from support.refusing import refusing
from support.serving import Served, start_process

ADAPTERS = ("pirate", "tool-caller")
SEEN = pytest.StashKey[matrix.Results]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write", action="store_true", help="write results.json and docs/clients.md")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[SEEN] = {}


def pytest_sessionfinish(session: pytest.Session) -> None:
    if session.config.getoption("--write", False):
        matrix.record(session.config.stash[SEEN])


@pytest.fixture(scope="session")
def seen(pytestconfig: pytest.Config) -> matrix.Results:
    """What a run against the real engine has seen so far."""
    return pytestconfig.stash[SEEN]


@pytest.fixture(scope="session", autouse=True)
def _installed() -> None:
    missing = [name for name in environments.LOCKS if not environments.installed(name)]
    if missing:
        pytest.fail(f"not installed: {', '.join(missing)}; scripts/install clients does it")


@pytest.fixture(scope="session")
def two_adapters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two of the demo adapters."""
    folder = tmp_path_factory.mktemp("two")
    for name in ADAPTERS:
        shutil.copytree(DEMO / name, folder / name)
    return folder


@pytest.fixture(scope="session")
def real(two_adapters: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The real engine with the embedded model."""
    folder = tmp_path_factory.mktemp("real")
    with start_process(folder, roots=[two_adapters]) as served, refusing(served.url) as faults:
        yield _world(served, faults, "smollm2-135m-instruct")


@pytest.fixture(scope="session")
def echo_world(two_adapters: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The echo engine."""
    folder = tmp_path_factory.mktemp("echo")
    flags = ["--engine", "echo"]
    with (
        start_process(folder, roots=[two_adapters], flags=flags) as served,
        refusing(served.url) as faults,
    ):
        yield _world(served, faults, "echo")


def _world(served: Served, faults: str, base: str) -> World:
    return World(served.url, faults, base, *ADAPTERS)
