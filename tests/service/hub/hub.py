"""A Hub on loopback with one repository, and a fetching that may ask it."""

import asyncio
import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from veneer_adapters.artifact.files import CONFIG_FILE, WEIGHTS_FILE
from veneer_adapters.errors import (
    AdapterError,
)
from veneer_adapters.sources.fetching import Fetched, Fetching, OnBytes
from veneer_adapters.sources.hub import HubFetcher

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


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
