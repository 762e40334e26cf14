"""Fixtures of the tests of web servers."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from service.https.site import HOST, Open, Site, fetching, serve_files
from support import faulty
from support.tcp_faults import Fault, proxied


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(HOST, "other.example", "localhost").configure_cert(context)
    return context


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


@pytest.fixture
def into(tmp_path: Path) -> Path:
    folder = tmp_path / "into"
    folder.mkdir()
    return folder


@pytest.fixture
def site(tls: ssl.SSLContext, ca_file: Path, into: Path) -> Open:
    @asynccontextmanager
    async def opened(
        answer: faulty.Answer = serve_files, wire: Fault | None = None, **options: Any
    ) -> AsyncIterator[Site]:
        async with faulty.serve(answer, tls) as server, proxied(server.port, wire) as proxy:
            yield Site(server, fetching(proxy.port, ca_file, **options), into, proxy)

    return opened
