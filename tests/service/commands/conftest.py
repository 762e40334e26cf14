"""Fixtures of the tests of ``veneer adapters``."""

import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer

from support import builders
from support.adapters_stub import AdaptersStub


@pytest.fixture
def stub() -> AdaptersStub:
    return AdaptersStub()


@pytest.fixture
def server(stub: AdaptersStub, httpserver: HTTPServer) -> str:
    """The URL of a server with the adapter routes and no adapters."""
    httpserver.expect_request(re.compile(".*")).respond_with_handler(stub)
    return httpserver.url_for("").rstrip("/")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder the server may take an adapter from."""
    builders.write(tmp_path / "adapters" / "new")
    return tmp_path / "adapters" / "new"


@pytest.fixture
def ctrl_c() -> Iterator[Callable[[], None]]:
    """What a terminal does on Ctrl-C, also where our parent ignores SIGINT, as under nohup."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield lambda: os.kill(os.getpid(), signal.SIGINT)
    signal.signal(signal.SIGINT, before)
