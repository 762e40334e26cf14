"""Fixtures of the tests of the Hub."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants
from pytest_httpserver import HTTPServer

from service.hub.hub import Hub, There


@pytest.fixture(scope="module")
def server() -> Iterator[HTTPServer]:
    with HTTPServer(host="127.0.0.1", threaded=True) as running:
        yield running


@pytest.fixture
def hub(server: HTTPServer) -> Hub:
    hub = Hub()
    server.clear()
    server.expect_request(re.compile("/.*")).respond_with_handler(hub.answer)
    return hub


@pytest.fixture
def into(tmp_path: Path) -> Path:
    folder = tmp_path / "into"
    folder.mkdir()
    return folder


@pytest.fixture(autouse=True)
def _no_word_to_the_real_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    # Else the library asks it which programs count as agents.
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)


@pytest.fixture
def there(server: HTTPServer, tmp_path: Path, into: Path) -> There:
    return There(server, tmp_path, into)
