"""Every conformance test keeps a listed promise; here is what they share."""

from pathlib import Path

import pytest

from conformance.requirements import REQUIREMENTS
from conformance.schema import OfficialSchema, official

_HERE = Path(__file__).parent


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "requirement(id): the promise in requirements.py it keeps")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _HERE not in item.path.parents:
            continue
        ids = [str(id_) for mark in item.iter_markers("requirement") for id_ in mark.args]
        unknown = [id_ for id_ in ids if id_ not in REQUIREMENTS]
        if unknown or not ids:
            raise pytest.UsageError(f"{item.nodeid}: no requirement {unknown or 'marked'}")


@pytest.fixture(scope="session")
def openai_schema() -> OfficialSchema:
    return official("openai")


@pytest.fixture(scope="session")
def anthropic_schema() -> OfficialSchema:
    return official("anthropic")
