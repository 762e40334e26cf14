"""Adapters from web servers: real TLS on loopback, and every way a server can misbehave."""

import asyncio
import base64
import gzip
import hashlib
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from support import faulty
from support.tcp_faults import Fault, Proxy, proxied
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
from veneer_adapters.sources.https import HttpsFetcher
from veneer_adapters.sources.remote import remote_sources
from veneer_adapters.sources.vetting import Resolve, Vetting

pytestmark = pytest.mark.slow  # servers of its own, retries and deadlines

HOST = "models.example"
CONFIG = b'{"r": 4}'
WEIGHTS = bytes(range(256)) * 4096
CONTENT = {CONFIG_FILE: CONFIG, WEIGHTS_FILE: WEIGHTS}


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


@pytest.fixture
def site(tls: ssl.SSLContext, ca_file: Path, into: Path) -> Open:
    @asynccontextmanager
    async def opened(
        answer: faulty.Answer = serve_files, wire: Fault | None = None, **options: Any
    ) -> AsyncIterator[Site]:
        async with faulty.serve(answer, tls) as server, proxied(server.port, wire) as proxy:
            yield Site(server, fetching(proxy.port, ca_file, **options), into, proxy)

    return opened


async def test_both_files_arrive_and_nothing_else_is_asked_for(site: Open) -> None:
    seen: list[tuple[int, int | None]] = []
    async with site() as here:
        found = await here.fetch(on_bytes=lambda *step: seen.append(step))
        assert found == Fetched(here.into, f"{here.folder}/")
        assert here.server.paths == [f"/adapters/x/{name}" for name in FILES]
    assert files(here.into) == CONTENT
    everything = len(CONFIG) + len(WEIGHTS)
    assert seen[-1] == (everything, everything)
    assert seen == sorted(seen, key=lambda step: step[0])


async def test_what_was_pinned_can_be_fetched_again(site: Open) -> None:
    async with site() as here:
        assert (await here.fetch(f"{here.folder}/")).pinned == f"{here.folder}/"


async def status_500(path: str, writer: asyncio.StreamWriter) -> None:
    writer.write(faulty.head(500, length=5) + b"/etc/")


async def cut(path: str, writer: asyncio.StreamWriter) -> None:
    writer.write(faulty.head(200, length=len(WEIGHTS)) + WEIGHTS[: len(WEIGHTS) // 2])


async def too_short(path: str, writer: asyncio.StreamWriter) -> None:
    writer.write(faulty.head(200, length=len(WEIGHTS) + 1) + WEIGHTS)


async def cut_chunks(path: str, writer: asyncio.StreamWriter) -> None:
    writer.write(faulty.head(200, Transfer_Encoding="chunked") + b"5\r\nhello\r\n")


async def no_length(path: str, writer: asyncio.StreamWriter) -> None:
    writer.write(faulty.head(200) + WEIGHTS)


async def two_lengths(path: str, writer: asyncio.StreamWriter) -> None:
    writer.write(faulty.head(200, length=5, content_length="6") + b"hello!")


async def not_http(path: str, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")


async def bomb(path: str, writer: asyncio.StreamWriter) -> None:
    body = gzip.compress(bytes(10 << 20))
    writer.write(faulty.head(200, length=len(body), Content_Encoding="gzip") + body)


async def forbidden(path: str, writer: asyncio.StreamWriter) -> None:
    writer.write(faulty.head(403, length=0))


async def unchanged(path: str, writer: asyncio.StreamWriter) -> None:
    writer.write(faulty.head(304))


async def missing(path: str, writer: asyncio.StreamWriter) -> None:
    writer.write(faulty.head(404, length=0))


async def loop(path: str, writer: asyncio.StreamWriter) -> None:
    writer.write(faulty.head(302, length=0, Location=path))


async def other_content(path: str, writer: asyncio.StreamWriter) -> None:
    digest = base64.b64encode(hashlib.sha256(b"what was meant").digest()).decode()
    writer.write(faulty.head(200, length=5, Repr_Digest=f"sha-256=:{digest}:") + b"hello")


FAULTS: list[tuple[str, faulty.Answer, type[AdapterError], str, int]] = [
    ("status 500", status_500, SourceUnavailable, "status 500", 3),
    ("cut at half", cut, SourceUnavailable, "connection to the host", 3),
    ("a byte fewer than announced", too_short, SourceUnavailable, "connection to the host", 3),
    ("cut between chunks", cut_chunks, SourceUnavailable, "connection to the host", 3),
    ("two lengths", two_lengths, SourceUnavailable, "connection to the host", 3),
    ("not HTTP", not_http, SourceUnavailable, "connection to the host", 3),
    ("no length", no_length, SourceUnavailable, "how long", 1),
    ("a gzip bomb", bomb, SourceUnavailable, "compressed", 1),
    ("forbidden", forbidden, SourceUnavailable, "status 403", 1),
    ("not modified", unchanged, SourceUnavailable, "status 304", 1),
    ("missing", missing, MissingFile, WEIGHTS_FILE, 1),
    ("a redirect loop", loop, SourceUnavailable, "redirects again and again", 4),
    ("another checksum", other_content, ChecksumMismatch, WEIGHTS_FILE, 1),
]


@pytest.mark.parametrize(
    ("answer", "leaf", "sentence", "asked"), [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS]
)
async def test_a_server_that_misbehaves_is_refused_with_the_reason(
    answer: faulty.Answer, leaf: type[AdapterError], sentence: str, asked: int, site: Open
) -> None:
    async with site(spoiled(answer)) as here:
        error = await here.refused()
        assert len([path for path in here.server.paths if path.endswith(WEIGHTS_FILE)]) == asked
    assert type(error) is leaf
    assert sentence in str(error)
    assert "/etc/" not in str(error)


async def test_a_server_that_recovers_is_not_held_against_the_adapter(site: Open) -> None:
    bad = [cut, status_500]

    async def weights(path: str, writer: asyncio.StreamWriter) -> None:
        await (bad.pop(0) if bad else serve_files)(path, writer)

    async with site(spoiled(weights)) as here:
        await here.fetch()
    assert files(here.into) == CONTENT


HANDSHAKE, HALF = 300, len(WEIGHTS) // 2
"""Places in the bytes of a connection; only the second file is as long as HALF."""

BROKEN = [
    ("reset in the handshake", Fault(reset_at=HANDSHAKE), 3),
    ("a wrong byte in the handshake", Fault(flip_at=HANDSHAKE), 3),
    ("cut in the content", Fault(cut_at=HALF), 6),
    ("reset in the content", Fault(reset_at=HALF), 6),
    ("a wrong byte in the content", Fault(flip_at=HALF), 6),
]


@pytest.mark.parametrize(
    ("wire", "connections"), [b[1:] for b in BROKEN], ids=[b[0] for b in BROKEN]
)
async def test_s1_a_broken_connection_is_tried_again_and_its_bytes_are_never_taken(
    wire: Fault, connections: int, site: Open
) -> None:
    async with site(wire=wire) as here:
        error = await here.refused()
        assert here.proxy.connections == connections
    assert isinstance(error, SourceUnavailable)
    assert "connection to the host" in str(error)


SLOW = {
    "nothing arrives any more": Fault(swallow_at=HALF),
    "a trickle arrives": Fault(bytes_per_s=1e5),
}


@pytest.mark.parametrize("wire", SLOW.values(), ids=SLOW)
async def test_s1_a_slow_connection_is_given_up_at_the_deadline(wire: Fault, site: Open) -> None:
    async with site(wire=wire, timeout_s=1) as here:
        error = await here.refused()
    assert isinstance(error, SourceUnavailable)
    assert "within 1 seconds" in str(error)


async def test_s1_a_long_way_is_no_fault(site: Open) -> None:
    async with site(wire=Fault(latency_s=0.005, bytes_per_s=5e6)) as here:
        await here.fetch()
    assert files(here.into) == CONTENT


async def test_a_server_that_is_down_is_told_as_such(site: Open) -> None:
    async with site() as here:
        port = here.server.port
    error = await here.refused()
    assert isinstance(error, SourceUnavailable)
    assert f"{port}" not in str(error)


@pytest.mark.parametrize(("pause", "asked"), [("3600", 1), ("0", 3), ("soon", 3)])
async def test_a_server_that_is_overrun_is_left_alone_as_it_asks(
    pause: str, asked: int, site: Open
) -> None:
    async def overrun(path: str, writer: asyncio.StreamWriter) -> None:
        writer.write(faulty.head(429, length=0, Retry_After=pause))

    async with site(overrun) as here:
        error = await here.refused()
        assert here.server.connections == asked
    assert isinstance(error, SourceUnavailable)
    assert error.retry_after_s == (None if pause == "soon" else float(pause))


async def test_an_announced_excess_is_refused_before_it_is_read(site: Open) -> None:
    async def huge(path: str, writer: asyncio.StreamWriter) -> None:
        writer.write(faulty.head(200, length=1 << 40))
        await writer.drain()
        await asyncio.Event().wait()

    async with site(spoiled(huge)) as here:
        assert isinstance(await here.refused(), TooLarge)


@pytest.mark.parametrize("name", FILES)
async def test_an_excess_that_was_not_announced_ends_the_transfer(name: str, site: Open) -> None:
    async def endless(path: str, writer: asyncio.StreamWriter) -> None:
        writer.write(faulty.head(200, Transfer_Encoding="chunked"))
        while True:
            writer.write(b"10000\r\n" + bytes(0x10000) + b"\r\n")
            await writer.drain()

    async with site(spoiled(endless, name), max_bytes=1 << 20) as here:
        assert isinstance(await here.refused(), TooLarge)


async def test_content_without_a_length_but_in_chunks_is_complete_at_its_end(site: Open) -> None:
    async def chunked(path: str, writer: asyncio.StreamWriter) -> None:
        writer.write(faulty.head(200, Transfer_Encoding="chunked"))
        writer.write(b"%x\r\n" % len(WEIGHTS) + WEIGHTS + b"\r\n0\r\n\r\n")

    async with site(spoiled(chunked)) as here:
        await here.fetch()
    assert files(here.into) == CONTENT


async def test_a_checksum_that_fits_is_no_obstacle(site: Open) -> None:
    async def checked(path: str, writer: asyncio.StreamWriter) -> None:
        digest = base64.b64encode(hashlib.sha256(WEIGHTS).digest()).decode()
        sums = f"sha-512=:AAAA:, sha-256=:{digest}:"
        writer.write(faulty.head(200, length=len(WEIGHTS), Repr_Digest=sums) + WEIGHTS)

    async with site(spoiled(checked)) as here:
        await here.fetch()


def redirecting(target: str) -> faulty.Answer:
    """Send whoever asks for the folder to ``target``; ``{here}`` is the port they came to."""

    async def answer(path: str, writer: asyncio.StreamWriter) -> None:
        name = path.rpartition("/")[2]
        if path.startswith("/adapters/x/"):
            port = writer.get_extra_info("sockname")[1]
            where = target.replace("{here}", str(port)).replace("{name}", name)
            writer.write(faulty.head(302, length=0, Location=where))
        else:
            body = CONTENT[name]
            writer.write(faulty.head(200, length=len(body)) + body)

    return answer


@pytest.mark.parametrize(
    "target",
    [
        "/elsewhere/{name}",
        "../y/{name}",
        "https://models.example:{here}/elsewhere/{name}",
        "https://other.example:{here}/elsewhere/{name}",
        "//MODELS.example:{here}/elsewhere/{name}",
    ],
)
async def test_redirects_among_allowed_hosts_are_followed(target: str, site: Open) -> None:
    hosts = (HOST, "other.example")
    async with site(redirecting(target), hosts=hosts, private=hosts) as here:
        await here.fetch()
    assert files(here.into) == CONTENT


ESCAPES = [
    "https://evil.example:{port}/x",
    "https://127.0.0.1:{port}/x",
    "https://[::1]:{port}/x",
    "https://169.254.169.254/latest/meta-data/",
    "https://0x7f.1:{port}/x",
    "https://2130706433:{port}/x",
    "https://models.example/x",
    "https://models.example:1/x",
    "https://models.example.evil.example:{port}/x",
    "https://models.example@127.0.0.1:{port}/x",
    "https://user@models.example:{here}/x",
    "https://models.example:{here}\\@127.0.0.1/x",
    "http://models.example:{here}/x",
    "ftp://models.example:{here}/x",
    "file:///etc/passwd",
    "//evil.example:{port}/x",
    "https://models.example:99999/x",
]


@pytest.mark.parametrize("target", ESCAPES)
async def test_a_redirect_to_anywhere_else_is_not_followed(
    target: str, site: Open, tls: ssl.SSLContext
) -> None:
    async with faulty.serve(faulty.canary, tls) as canary:
        aimed = target.replace("{port}", str(canary.port))
        async with site(redirecting(aimed)) as here:
            error = await here.refused()
            assert set(here.server.paths) == {f"/adapters/x/{CONFIG_FILE}"}
    assert isinstance(error, SourceNotAllowed)
    assert canary.connections == 0


async def test_a_redirect_to_an_allowed_host_is_vetted_again(site: Open) -> None:
    hosts = (HOST, "other.example")
    target = redirecting("https://other.example:{here}/elsewhere/{name}")
    async with site(target, hosts=hosts, private=(HOST,)) as here:
        assert isinstance(await here.refused(), SourceNotAllowed)
        assert here.server.connections == 1


LOCATIONS = [
    "https://127.0.0.1:{port}/x",
    "https://localhost:{port}/x",
    "https://[::1]:{port}/x",
    "https://0x7f.1:{port}/x",
    "https://2130706433:{port}/x",
    "https://169.254.169.254/latest/meta-data",
    "https://models.example:{port}\\@127.0.0.1/x",
    "http://ok\\@127.0.0.1:{port}/x",
    "https://models.example@127.0.0.1:{port}/x",
    "https://user:pass@models.example:{port}/x",
    "https://models.example/x",
    "https://models.example:{port}/../x",
    "https://models.example:{port}/%2e%2e/x",
    "https://models.example:{port}/x\x00",
    "https://models.example:{port}/x?y",
    "https://models.example:{port}/x#pin",
    "http://models.example:{port}/x",
    "file:///etc/passwd",
    "ftp://127.0.0.1:{port}/x",
    "//127.0.0.1:{port}/x",
    "\\\\127.0.0.1\\share",
]


@pytest.mark.parametrize("location", LOCATIONS)
async def test_no_location_leads_to_a_place_that_is_not_allowed(location: str, site: Open) -> None:
    async with site(faulty.canary) as here:
        error = await here.refused(location.replace("{port}", str(here.server.port)))
        assert here.server.connections == 0
    assert isinstance(error, SourceNotAllowed)


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["::1"],
        ["::ffff:127.0.0.1"],
        ["64:ff9b::7f00:1"],
        ["2002:7f00:1::"],
        ["169.254.169.254"],
        ["8.8.8.8", "127.0.0.1"],
    ],
)
async def test_an_allowed_name_with_a_private_address_is_not_connected_to(
    addresses: list[str], site: Open
) -> None:
    async def private(host: str, port: int) -> Sequence[str]:
        return addresses

    async with site(faulty.canary, private=(), resolve=private) as here:
        assert isinstance(await here.refused(), SourceNotAllowed)
        assert here.server.connections == 0


async def test_the_address_that_was_vetted_is_the_one_that_is_connected_to(site: Open) -> None:
    answers = ["127.0.0.1", "127.0.0.1"]

    async def rebinding(host: str, port: int) -> Sequence[str]:
        # Whoever asked more than once for a connection would be led astray.
        return [answers.pop(0) if answers else "127.0.0.2"]

    async with site(resolve=rebinding) as here:
        await here.fetch()
        assert here.server.connections == 2


async def test_a_host_with_several_addresses_is_reached_at_any_of_them(site: Open) -> None:
    async def several(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.9", "127.0.0.1"]

    async with site(resolve=several) as here:
        await here.fetch()
    assert files(here.into) == CONTENT


async def test_proxies_of_the_environment_are_not_used(
    site: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with faulty.serve(faulty.canary) as proxy, site() as here:
        for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        await here.fetch()
    assert proxy.connections == 0


@pytest.mark.parametrize("variable", [None, "SSL_CERT_FILE"])
async def test_a_certificate_of_an_unknown_authority_is_not_trusted(
    variable: str | None,
    tls: ssl.SSLContext,
    ca_file: Path,
    into: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if variable is not None:
        monkeypatch.setenv(variable, str(ca_file))
    async with faulty.serve(serve_files, tls) as server:
        here = Site(server, fetching(server.port, None), into)
        error = await here.refused()
        assert server.paths == []
    assert "certificate" in str(error)


async def test_a_certificate_of_another_name_is_not_trusted(site: Open) -> None:
    wrong = ("wrong.example",)
    async with site(hosts=wrong, private=wrong) as here:
        error = await here.refused(here.folder.replace(HOST, "wrong.example"))
        assert here.server.paths == []
    assert "certificate" in str(error)


async def test_what_the_operator_configures_is_what_may_be_fetched(
    tls: ssl.SSLContext, ca_file: Path, into: Path
) -> None:
    async with faulty.serve(serve_files, tls) as server:
        host = f"localhost:{server.port}"
        allowed = remote_sources(https_hosts=[host], private_hosts=["localhost"], ca_file=ca_file)
        await allowed.fetch(f"https://{host}/adapters/x", into)
        assert files(into) == CONTENT
        connections = server.connections
        public = remote_sources(https_hosts=[host], ca_file=ca_file)
        with pytest.raises(SourceNotAllowed):
            await public.fetch(f"https://{host}/adapters/x", into)
        with pytest.raises(SourceNotAllowed):
            await remote_sources().fetch(f"https://{host}/adapters/x", into)
        assert server.connections == connections
    assert files(into) == {}
