"""A Hub that limits, refuses, stalls, or sends other than it said."""

import asyncio
import threading
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from service.hub.hub import OLD, Hub, There, empty, files
from veneer_adapters.artifact.files import WEIGHTS_FILE
from veneer_adapters.errors import (
    ChecksumMismatch,
    SourceUnavailable,
    TooLarge,
)

pytestmark = pytest.mark.slow  # servers of its own, retries and deadlines


ANSWERS = [(500, {}, 3), (503, {}, 3), (403, {}, 1), (401, {"X-Error-Code": "GatedRepo"}, 1)]


@pytest.mark.parametrize(("status", "headers", "asked"), ANSWERS)
async def test_a_hub_that_refuses_is_asked_a_few_times_only(
    status: int, headers: dict[str, str], asked: int, hub: Hub, there: There
) -> None:
    hub.trouble = lambda request: Response("/etc/", status=status, headers=headers)
    error = await there.refused()
    assert isinstance(error, SourceUnavailable)
    assert "/etc/" not in str(error)
    assert len(hub.asked) == asked


LONG_AGO = "Wed, 18 Nov 2015 11:00:00 GMT"


WINDOWS: list[tuple[str | None, float | None, int]] = [
    ("300", 300, 1),
    ("86400", 86400, 1),
    ("0", 0, 3),
    (LONG_AGO, 0, 3),
    (None, None, 3),
    ("soon", None, 3),
    ("-1", None, 3),
]


@pytest.mark.parametrize(("header", "told_s", "asked"), WINDOWS)
async def test_s3_a_hub_that_limits_the_rate_is_asked_as_often_as_it_allows(
    header: str | None, told_s: float | None, asked: int, hub: Hub, there: There
) -> None:
    headers = {} if header is None else {"Retry-After": header}
    hub.trouble = lambda request: Response(status=429, headers=headers)
    error = await there.refused()
    assert isinstance(error, SourceUnavailable)
    assert error.retry_after_s == told_s
    assert len(hub.asked) == asked


async def test_s3_it_is_asked_once_in_each_window_whatever_is_wanted_of_it(
    hub: Hub, there: There
) -> None:
    now_s = 0.0
    asking = there.asking(orgs=("*",), clock=lambda: now_s)
    hub.trouble = lambda request: Response(status=429, headers={"Retry-After": "300"})
    for window in range(3):
        now_s = 300.0 * window
        for number in range(20):
            with pytest.raises(SourceUnavailable) as refused:
                await asking.fetch(f"hf://org{number}/name", there.into)
            assert refused.value.retry_after_s == 300
        assert len(hub.asked) == window + 1
    hub.trouble = lambda request: None
    now_s = 899.0
    with pytest.raises(SourceUnavailable, match="ends in 1 s"):
        await asking.fetch("hf://org/name", there.into)
    now_s = 900.0
    await asking.fetch("hf://org/name", there.into)
    assert files(there.into) == OLD


async def test_a_limit_reached_at_the_files_holds_until_the_deadline(
    hub: Hub, there: There
) -> None:
    limited = Response(status=429, headers={"Retry-After": "300"})
    hub.trouble = lambda request: limited if "/resolve/" in request.path else None
    error = await there.refused(timeout_s=1)
    assert isinstance(error, SourceUnavailable)
    assert len([path for path in hub.asked if "/resolve/" in path]) <= 3


async def test_too_many_bytes_are_refused(hub: Hub, there: There) -> None:
    size = sum(map(len, OLD.values()))
    assert isinstance(await there.refused(max_bytes=size - 1), TooLarge)
    await there.fetch(max_bytes=size)


async def test_too_many_bytes_are_refused_also_from_the_cache(hub: Hub, there: There) -> None:
    await there.fetch()
    empty(there.into)
    assert isinstance(await there.refused(max_bytes=1000), TooLarge)


async def test_more_than_was_announced_is_not_taken(hub: Hub, there: There) -> None:
    hub.announced[WEIGHTS_FILE] = 10
    assert isinstance(await there.refused(), SourceUnavailable)


async def test_other_content_than_its_checksum_is_refused_and_not_kept(
    hub: Hub, there: There
) -> None:
    hub.sent[WEIGHTS_FILE] = b"bad" * 50_000
    assert isinstance(await there.refused(), ChecksumMismatch)
    hub.sent.clear()
    await there.fetch()
    assert files(there.into) == OLD


async def test_a_slow_hub_is_given_up_at_the_deadline_and_its_thread_ends(
    hub: Hub, there: There
) -> None:
    gate = threading.Event()

    def hold(request: Request) -> None:
        if request.method == "GET" and "/resolve/" in request.path:
            gate.wait(10)

    hub.trouble = hold
    before = set(threading.enumerate())
    try:
        error = await there.refused(timeout_s=0.5)
        [thread] = [one for one in set(threading.enumerate()) - before if one.name == "veneer-hub"]
        assert thread.daemon
    finally:
        gate.set()
    await asyncio.to_thread(thread.join, 5)
    assert not thread.is_alive()
    assert isinstance(error, SourceUnavailable)
    assert "within 0.5 seconds" in str(error)
    assert files(there.into) == {}


async def test_a_hub_that_is_down_is_told_as_such(tmp_path: Path, into: Path) -> None:
    with HTTPServer(host="127.0.0.1") as gone:
        there = There(gone, tmp_path, into)
    error = await there.refused()
    assert isinstance(error, SourceUnavailable)
    assert "127.0.0.1" not in str(error)
