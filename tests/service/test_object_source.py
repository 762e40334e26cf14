"""Adapters from object stores: a real S3 server on loopback, and stores that misbehave."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support import clients, faulty
from support.tcp_faults import Fault, proxied
from veneer_adapters.artifact.files import CONFIG_FILE, FILES, WEIGHTS_FILE
from veneer_adapters.errors import (
    AdapterError,
    MissingFile,
    SourceNotAllowed,
    SourceUnavailable,
    TooLarge,
)
from veneer_adapters.sources.fetching import Fetched, Fetching, OnBytes
from veneer_adapters.sources.objectstore import ObjectStoreFetcher
from veneer_adapters.sources.remote import remote_sources

pytestmark = pytest.mark.slow  # servers of its own, retries and deadlines

HERE = "s3://bucket/adapters/x"
OLD = {CONFIG_FILE: b"old config", WEIGHTS_FILE: b"old" * 1_000_000}
NEW = {CONFIG_FILE: b"new config", WEIGHTS_FILE: b"new" * 1_000_000}
PART = 1 << 20
SIZE = sum(map(len, OLD.values()))
"""More than one part, so that a change can fall between two."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


def environment(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "canary-key-id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary-secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")


@pytest.fixture
def s3(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client for a fresh bucket that holds the old files."""
    environment(monkeypatch, server)
    client = clients.boto3.client("s3", endpoint_url=server, region_name="us-east-1")
    client.create_bucket(Bucket="bucket")
    upload(client, OLD)
    yield client
    for version in client.list_object_versions(Bucket="bucket").get("Versions", []):
        client.delete_object(Bucket="bucket", Key=version["Key"], VersionId=version["VersionId"])
    client.delete_bucket(Bucket="bucket")
    client.close()


@pytest.fixture
def into(tmp_path: Path) -> Path:
    folder = tmp_path / "into"
    folder.mkdir()
    return folder


def upload(client: Any, content: dict[str, bytes], prefix: str = "adapters/x") -> None:
    for name, body in content.items():
        client.put_object(Bucket="bucket", Key=f"{prefix}/{name}", Body=body)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def fetching(*buckets: str, timeout_s: float = 20, max_bytes: int = 20 << 20) -> Fetching:
    fetcher = ObjectStoreFetcher(
        buckets or ["s3://bucket/adapters"], timeout_s=timeout_s, part_bytes=PART
    )
    return Fetching([fetcher], timeout_s=timeout_s, max_bytes=max_bytes, tries=3, pause_s=0.01)


async def fetch(
    into: Path, location: str = HERE, on_bytes: OnBytes = lambda done, total: None, **options: Any
) -> Fetched:
    async with asyncio.timeout(30):
        return await fetching(**options).fetch(location, into, on_bytes)


async def refused(into: Path, location: str = HERE, *buckets: str, **options: Any) -> AdapterError:
    with pytest.raises(AdapterError) as caught:
        await fetching(*buckets, **options).fetch(location, into)
    assert files(into) == {}
    assert "canary" not in str(caught.value)
    return caught.value


async def test_both_files_arrive_and_no_others(s3: Any, into: Path) -> None:
    upload(s3, {"README.md": b"no", "optimizer.pt": b"no"})
    seen: list[tuple[int, int | None]] = []
    await fetch(into, on_bytes=lambda *step: seen.append(step))
    assert files(into) == OLD
    assert (seen[0], seen[-1]) == ((0, SIZE), (SIZE, SIZE))


async def test_a_pinned_location_is_that_content_or_missing(s3: Any, into: Path) -> None:
    pinned = (await fetch(into)).pinned
    assert pinned.startswith(f"{HERE}#etag=")
    for name in FILES:
        (into / name).unlink()
    assert (await fetch(into, pinned)).pinned == pinned
    for name in FILES:
        (into / name).unlink()
    upload(s3, NEW)
    assert isinstance(await refused(into, pinned), MissingFile)


async def test_where_versions_are_kept_an_old_one_can_be_fetched_again(s3: Any, into: Path) -> None:
    enabled = {"Status": "Enabled"}
    s3.put_bucket_versioning(Bucket="bucket", VersioningConfiguration=enabled)
    upload(s3, OLD)
    pinned = (await fetch(into)).pinned
    assert pinned.startswith(f"{HERE}#version=")
    upload(s3, NEW)
    for name in FILES:
        (into / name).unlink()
    assert (await fetch(into, pinned)).pinned == pinned
    assert files(into) == OLD


@pytest.mark.parametrize(
    "at", [len(OLD[CONFIG_FILE]), PART], ids=["between the files", "between two parts"]
)
async def test_an_upload_while_one_is_read_is_never_mixed_with_it(
    at: int, s3: Any, into: Path
) -> None:
    uploads: list[dict[str, bytes]] = [NEW]

    def upload_once(done: int, total: int | None) -> None:
        if done >= at and uploads:
            upload(s3, uploads.pop())

    await fetch(into, on_bytes=upload_once)
    assert not uploads
    assert files(into) == NEW


async def test_files_that_never_stop_changing_are_given_up(s3: Any, into: Path) -> None:
    count = 0

    def upload_always(done: int, total: int | None) -> None:
        nonlocal count
        if done == len(OLD[CONFIG_FILE]):
            count += 1
            upload(s3, {WEIGHTS_FILE: b"%d" % count})

    with pytest.raises(SourceUnavailable, match="changed while"):
        await fetch(into, on_bytes=upload_always)
    assert count == 3
    assert files(into) == {}


async def test_files_that_vanish_while_they_are_read_are_missing(s3: Any, into: Path) -> None:
    def remove(done: int, total: int | None) -> None:
        s3.delete_object(Bucket="bucket", Key=f"adapters/x/{WEIGHTS_FILE}")

    with pytest.raises(MissingFile):
        await fetch(into, on_bytes=remove)
    assert files(into) == {}


@pytest.mark.parametrize("gone", FILES)
async def test_a_file_that_is_not_there_is_missing(gone: str, s3: Any, into: Path) -> None:
    s3.delete_object(Bucket="bucket", Key=f"adapters/x/{gone}")
    assert isinstance(await refused(into), MissingFile)


async def test_a_prefix_or_a_bucket_that_is_not_there_is_missing(s3: Any, into: Path) -> None:
    assert isinstance(await refused(into, f"{HERE}/y"), MissingFile)
    assert isinstance(await refused(into, "s3://nowhere/x", "s3://nowhere"), MissingFile)


async def test_too_many_bytes_are_refused_before_they_are_read(s3: Any, into: Path) -> None:
    assert isinstance(await refused(into, max_bytes=SIZE - 1), TooLarge)
    await fetch(into, max_bytes=SIZE)


@pytest.mark.parametrize(
    "location",
    [
        "s3://bucket/x",
        "s3://bucket/adapters-of-others/x",
        "s3://bucket/adapters/../x",
        "s3://bucket",
        "s3://other/adapters/x",
        "gs://bucket/adapters/x",
        "az://bucket/adapters/x",
    ],
)
async def test_only_the_configured_part_of_the_bucket_is_read(location: str, into: Path) -> None:
    # No store is running here: nothing may be asked.
    assert isinstance(await refused(into, location), SourceNotAllowed)


async def status(code: int, text: bytes, writer: asyncio.StreamWriter) -> None:
    body = b"<Error><Code>" + text + b"</Code><Message>canary</Message></Error>"
    writer.write(faulty.head(code, length=len(body)) + body)


ANSWERS = [
    (403, b"AccessDenied", "refuses access"),
    (401, b"InvalidAccessKeyId", "refuses access"),
    (500, b"InternalError", "cannot be read"),
    (503, b"SlowDown", "cannot be read"),
    (429, b"TooManyRequests", "cannot be read"),
]


@pytest.mark.parametrize(("code", "text", "sentence"), ANSWERS)
async def test_a_store_that_refuses_is_asked_a_few_times_only(
    code: int, text: bytes, sentence: str, into: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def answer(path: str, writer: asyncio.StreamWriter) -> None:
        await status(code, text, writer)

    async with faulty.serve(answer) as store:
        environment(monkeypatch, f"http://127.0.0.1:{store.port}")
        error = await refused(into)
    assert isinstance(error, SourceUnavailable)
    assert sentence in str(error)
    assert 1 <= store.connections <= 6


def object_with(body: faulty.Answer) -> faulty.Answer:
    """A store that says well what it has, each time before it sends ``body``."""
    looked: set[str] = set()

    async def answer(path: str, writer: asyncio.StreamWriter) -> None:
        if path not in looked:
            looked.add(path)
            writer.write(described(200))
        else:
            looked.discard(path)
            await body(path, writer)

    return answer


def described(status: int, **headers: str) -> bytes:
    """Return the head of an object of 1000 bytes."""
    when = "Sun, 22 Nov 2026 09:00:00 GMT"
    return faulty.head(status, length=1000, ETag='"e"', Last_Modified=when, **headers)


def part() -> bytes:
    return described(206, Content_Range="bytes 0-999/1000")


async def not_a_part(path: str, writer: asyncio.StreamWriter) -> None:
    writer.write(described(200) + bytes(1000))


async def other_etag(path: str, writer: asyncio.StreamWriter) -> None:
    writer.write(part().replace(b'"e"', b'"f"') + bytes(1000))


async def other_size(path: str, writer: asyncio.StreamWriter) -> None:
    writer.write(part().replace(b"/1000", b"/1001") + bytes(1000))


BODIES = [
    (not_a_part, "cannot be read"),
    (other_etag, "changed while"),
    (other_size, "changed while"),
]


@pytest.mark.parametrize(("body", "sentence"), BODIES)
async def test_what_is_not_what_was_seen_first_is_not_taken_for_it(
    body: faulty.Answer, sentence: str, into: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with faulty.serve(object_with(body)) as store:
        environment(monkeypatch, f"http://127.0.0.1:{store.port}")
        error = await refused(into)
    assert isinstance(error, SourceUnavailable)
    assert sentence in str(error)


HALF = PART // 2
WIRES = [
    ("reset at once", Fault(reset_at=0), "cannot be read"),
    ("cut in a part", Fault(cut_at=HALF), "cannot be read"),
    ("reset in a part", Fault(reset_at=HALF), "cannot be read"),
    ("nothing arrives", Fault(swallow_at=0), "within 2 seconds"),
    ("nothing arrives any more", Fault(swallow_at=HALF), "within 2 seconds"),
    ("a trickle arrives", Fault(bytes_per_s=1e5), "within 2 seconds"),
]


@pytest.mark.parametrize(("wire", "sentence"), [w[1:] for w in WIRES], ids=[w[0] for w in WIRES])
async def test_s2_a_broken_or_slow_connection_is_given_up_and_nothing_stays(
    wire: Fault,
    sentence: str,
    s3: Any,
    server: str,
    into: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with proxied(int(server.rpartition(":")[2]), wire) as proxy:
        environment(monkeypatch, f"http://127.0.0.1:{proxy.port}")
        error = await refused(into, timeout_s=2)
        assert proxy.connections > 0
    assert isinstance(error, SourceUnavailable)
    assert sentence in str(error)


async def test_a_store_that_is_down_is_told_as_such(
    into: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with faulty.serve(not_a_part) as store:
        port = store.port
    environment(monkeypatch, f"http://127.0.0.1:{port}")
    error = await refused(into, timeout_s=20)
    assert isinstance(error, SourceUnavailable)
    assert "127.0.0.1" not in str(error)


async def test_what_the_operator_configures_is_what_may_be_fetched(s3: Any, into: Path) -> None:
    found = await remote_sources(buckets=["s3://bucket/adapters"]).fetch(HERE, into)
    assert found.folder == into
    assert files(into) == OLD


async def test_a_store_without_its_settings_says_so(
    into: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    error = await refused(into, "az://container/x", "az://container")
    assert isinstance(error, SourceUnavailable)
    assert "not set up" in str(error)
