"""Adapters from the Hugging Face Hub: the real client against a small stub of its HTTP API."""

import asyncio
import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from veneer_adapters.artifact.files import CONFIG_FILE, FILES, WEIGHTS_FILE
from veneer_adapters.errors import (
    AdapterError,
    ChecksumMismatch,
    MissingFile,
    SourceNotAllowed,
    SourceUnavailable,
    TooLarge,
)
from veneer_adapters.sources.fetching import Fetched, Fetching, OnBytes
from veneer_adapters.sources.hub import HubFetcher
from veneer_adapters.sources.remote import remote_sources

pytestmark = pytest.mark.slow  # servers of its own, retries and deadlines

TOKEN = "hf_canary"
COMMIT, LATER = "1" * 40, "2" * 40
OLD = {CONFIG_FILE: b'{"r": 4}', WEIGHTS_FILE: b"old" * 50_000}
NEW = {CONFIG_FILE: b'{"r": 8}', WEIGHTS_FILE: b"new" * 50_000}


class Hub:
    """One repository, ``org/name``, as the Hub would show it."""

    def __init__(self) -> None:
        self.commits = {COMMIT: dict(OLD)}
        self.refs = {"main": COMMIT}
        self.announced: dict[str, int] = {}
        self.sent: dict[str, bytes] = {}
        self.trouble: Callable[[Request], Response | None] = lambda request: None
        self.asked: list[str] = []
        self.tokens: set[str | None] = set()

    def answer(self, request: Request) -> Response:
        self.asked.append(f"{request.method} {request.path}")
        self.tokens.add(request.headers.get("Authorization"))
        trouble = self.trouble(request)
        if trouble is not None:
            return trouble
        if request.path.startswith("/api/models/"):
            return self._info(request.path.removeprefix("/api/models/"))
        return self._file(request.path.removeprefix("/"))

    def _info(self, path: str) -> Response:
        repository, _, revision = path.partition("/revision/")
        if repository != "org/name":
            return Response(status=401, headers={"X-Error-Code": "RepoNotFound"})
        commit = self.refs.get(revision or "main", revision)
        if commit not in self.commits:
            return Response(status=404, headers={"X-Error-Code": "RevisionNotFound"})
        siblings = [
            {
                "rfilename": name,
                "size": self.announced.get(name, len(body)),
                "blobId": hashlib.sha1(body).hexdigest(),  # noqa: S324 - as git does
            }
            for name, body in self.commits[commit].items()
        ]
        body = {"id": "org/name", "sha": commit, "siblings": siblings, "private": False}
        return Response(json.dumps(body), content_type="application/json")

    def _file(self, path: str) -> Response:
        _, _, rest = path.partition("org/name/resolve/")
        commit, _, name = rest.partition("/")
        if name not in self.commits.get(commit, {}):
            return Response(status=404, headers={"X-Error-Code": "EntryNotFound"})
        body = self.commits[commit][name]
        digest = hashlib.sha256(body) if name.endswith("safetensors") else hashlib.sha1(body)  # noqa: S324
        headers = {"X-Repo-Commit": commit, "ETag": f'"{digest.hexdigest()}"'}
        return Response(self.sent.get(name, body), headers=headers)


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


class There:
    """What may fetch from the stub, with a cache of its own."""

    def __init__(self, server: HTTPServer, folder: Path, into: Path) -> None:
        self._endpoint = server.url_for("").rstrip("/")
        self._cache = folder / "cache"
        self.into = into

    def asking(
        self,
        *,
        orgs: tuple[str, ...] = ("org",),
        timeout_s: float = 20,
        max_bytes: int = 1 << 20,
        clock: Callable[[], float] = time.monotonic,
    ) -> Fetching:
        fetcher = HubFetcher(orgs, endpoint=self._endpoint, token=TOKEN, cache_dir=self._cache)
        return Fetching(
            [fetcher],
            timeout_s=timeout_s,
            max_bytes=max_bytes,
            tries=3,
            pause_s=0.01,
            clock=clock,
        )

    async def fetch(
        self,
        location: str = "hf://org/name",
        *,
        on_bytes: OnBytes = lambda done, total: None,
        **options: Any,
    ) -> Fetched:
        async with asyncio.timeout(30):
            return await self.asking(**options).fetch(location, self.into, on_bytes)

    async def refused(self, location: str = "hf://org/name", **options: Any) -> AdapterError:
        with pytest.raises(AdapterError) as caught:
            await self.fetch(location, **options)
        assert files(self.into) == {}
        assert TOKEN not in str(caught.value)
        return caught.value


@pytest.fixture
def there(server: HTTPServer, tmp_path: Path, into: Path) -> There:
    return There(server, tmp_path, into)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


async def test_both_files_arrive_at_the_commit_the_revision_means(hub: Hub, there: There) -> None:
    hub.commits[COMMIT]["README.md"] = b"no"
    seen: list[tuple[int, int | None]] = []
    found = await there.fetch(on_bytes=lambda *step: seen.append(step))
    assert found == Fetched(there.into, f"hf://org/name@{COMMIT}")
    assert files(there.into) == OLD
    size = sum(map(len, OLD.values()))
    assert (seen[0], seen[-1]) == ((0, size), (size, size))
    assert hub.tokens == {f"Bearer {TOKEN}"}
    loaded = {path for path in hub.asked if path.startswith("GET") and "/resolve/" in path}
    assert loaded == {f"GET /org/name/resolve/{COMMIT}/{name}" for name in FILES}


async def test_a_revision_that_moves_meanwhile_is_not_mixed(hub: Hub, there: There) -> None:
    hub.commits[LATER] = NEW

    def move(request: Request) -> None:
        if "/resolve/" in request.path:
            hub.refs["main"] = LATER

    hub.trouble = move
    assert (await there.fetch()).pinned == f"hf://org/name@{COMMIT}"
    assert files(there.into) == OLD
    empty(there.into)
    assert (await there.fetch("hf://org/name@main")).pinned == f"hf://org/name@{LATER}"
    assert files(there.into) == NEW


async def test_what_was_pinned_can_be_fetched_again(hub: Hub, there: There) -> None:
    pinned = (await there.fetch()).pinned
    hub.commits[LATER], hub.refs["main"] = NEW, LATER
    empty(there.into)
    assert (await there.fetch(pinned)).pinned == pinned
    assert files(there.into) == OLD


async def test_a_subfolder_may_hold_the_adapter(hub: Hub, there: There) -> None:
    hub.commits[COMMIT] = {f"a/b/{name}": body for name, body in OLD.items()}
    found = await there.fetch("hf://org/name@main/a/b")
    assert found.pinned == f"hf://org/name@{COMMIT}/a/b"
    assert files(there.into) == OLD


async def test_what_is_in_the_cache_is_not_loaded_again(hub: Hub, there: There) -> None:
    await there.fetch()
    empty(there.into)
    hub.asked.clear()
    await there.fetch()
    assert hub.asked == ["GET /api/models/org/name"]
    assert files(there.into) == OLD


async def test_offline_only_the_cache_is_asked(
    hub: Hub, there: There, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned = (await there.fetch("hf://org/name@main")).pinned
    empty(there.into)
    hub.asked.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert (await there.fetch(pinned)).pinned == pinned
    assert files(there.into) == OLD
    empty(there.into)
    error = await there.refused(f"hf://org/name@{LATER}")
    assert isinstance(error, SourceUnavailable)
    assert "may not be asked" in str(error)
    assert hub.asked == []


@pytest.mark.parametrize(
    "location", ["hf://org/other", "hf://org/name@nowhere", "hf://org/name/nowhere"]
)
async def test_what_the_hub_does_not_have_is_missing(location: str, hub: Hub, there: There) -> None:
    assert isinstance(await there.refused(location), MissingFile)
    assert len(hub.asked) == 1


@pytest.mark.parametrize("name", FILES)
async def test_a_repository_without_one_of_the_files_is_missing_it(
    name: str, hub: Hub, there: There
) -> None:
    del hub.commits[COMMIT][name]
    error = await there.refused()
    assert isinstance(error, MissingFile)
    assert name in str(error)
    assert len(hub.asked) == 1


@pytest.mark.parametrize(
    "location",
    ["hf://other/name", "hf://org/a--b", "hf://org/name@a#b", "hf://org", "hf://org/name/../x"],
)
async def test_only_configured_organisations_are_asked(
    location: str, hub: Hub, there: There
) -> None:
    assert isinstance(await there.refused(location), SourceNotAllowed)
    assert hub.asked == []


async def test_a_star_allows_everybody(hub: Hub, there: There) -> None:
    await there.fetch(orgs=("*",))
    assert files(there.into) == OLD


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


async def test_nothing_is_asked_of_the_hub_unless_it_is_configured(into: Path) -> None:
    with pytest.raises(SourceNotAllowed):
        await remote_sources(hub_orgs=["org"]).fetch("hf://other/name", into)
    with pytest.raises(SourceNotAllowed):
        await remote_sources().fetch("hf://org/name", into)


def empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
