"""A web server with one adapter, over real TLS on loopback, and a fetching that may ask it."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from support import faulty
from support.tcp_faults import Fault, Proxy
from veneer_adapters.artifact.files import CONFIG_FILE, WEIGHTS_FILE
from veneer_adapters.errors import (
    AdapterError,
)
from veneer_adapters.sources.fetching import Fetched, Fetching, OnBytes
from veneer_adapters.sources.https import HttpsFetcher
from veneer_adapters.sources.vetting import Resolve, Vetting

HOST = "models.example"


CONFIG = b'{"r": 4}'


WEIGHTS = bytes(range(256)) * 4096


CONTENT = {CONFIG_FILE: CONFIG, WEIGHTS_FILE: WEIGHTS}


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


async def to_loopback(host: str, port: int) -> Sequence[str]:
    return ["127.0.0.1"]


def fetching(
    port: int,
    ca_file: Path | None,
    *,
    hosts: Sequence[str] = (HOST,),
    private: Sequence[str] = (HOST,),
    resolve: Resolve = to_loopback,
    timeout_s: float = 20,
    max_bytes: int = 2 << 20,
) -> Fetching:
    fetcher = HttpsFetcher(
        [f"{host}:{port}" for host in hosts],
        vetting=Vetting(private_hosts=private, resolve=resolve),
        ca_file=ca_file,
    )
    return Fetching([fetcher], timeout_s=timeout_s, max_bytes=max_bytes, tries=3, pause_s=0.01)


async def serve_files(path: str, writer: asyncio.StreamWriter) -> None:
    body = CONTENT.get(path.rpartition("/")[2])
    if body is None or not path.startswith("/adapters/x/"):
        writer.write(faulty.head(404, length=0))
    else:
        writer.write(faulty.head(200, length=len(body)) + body)


def spoiled(answer: faulty.Answer, name: str = WEIGHTS_FILE) -> faulty.Answer:
    """Serve the files well except for ``name``."""

    async def serve(path: str, writer: asyncio.StreamWriter) -> None:
        await (answer if path.endswith(name) else serve_files)(path, writer)

    return serve


class Site:
    """A server and a fetching that may ask it."""

    def __init__(
        self,
        server: faulty.Faulty,
        fetching: Fetching,
        into: Path,
        proxy: Proxy | None = None,
    ) -> None:
        self.server = server
        self.proxy = proxy or Proxy(Fault(), server.port)
        self.into = into
        self.folder = f"https://{HOST}:{self.proxy.port}/adapters/x"
        self._fetching = fetching

    async def fetch(
        self, location: str | None = None, on_bytes: OnBytes = lambda done, total: None
    ) -> Fetched:
        async with asyncio.timeout(30):
            return await self._fetching.fetch(location or self.folder, self.into, on_bytes)

    async def refused(self, location: str | None = None) -> AdapterError:
        with pytest.raises(AdapterError) as caught:
            await self.fetch(location)
        assert files(self.into) == {}
        return caught.value


Open = Callable[..., AbstractAsyncContextManager[Site]]
