"""Some tests of HTTP run twice: the server reads the request itself, or a worker does."""

from collections.abc import Iterator

import pytest

from support.forwarded import forwarding

BOTH_WAYS = {"test_http", "test_requests", "test_slow_bodies"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.module.__name__.rpartition(".")[2] in BOTH_WAYS:
        metafunc.parametrize("by_a_worker", [False, True], ids=["", "worker"], indirect=True)


@pytest.fixture(autouse=True)
def by_a_worker(request: pytest.FixtureRequest) -> Iterator[None]:
    token = forwarding.set(getattr(request, "param", False))
    yield
    forwarding.reset(token)
