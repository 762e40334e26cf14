"""Adapters from web servers: every way in which a server or a connection can misbehave."""

import asyncio
import base64
import gzip
import hashlib

import pytest

from service.https.site import CONFIG, CONTENT, WEIGHTS, Open, files, serve_files, spoiled
from support import faulty
from support.tcp_faults import Fault
from veneer_adapters.artifact.files import FILES, WEIGHTS_FILE
from veneer_adapters.errors import (
    AdapterError,
    ChecksumMismatch,
    MissingFile,
    SourceUnavailable,
    TooLarge,
)
from veneer_adapters.sources.fetching import Fetched

pytestmark = pytest.mark.slow  # servers of its own, retries and deadlines


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
