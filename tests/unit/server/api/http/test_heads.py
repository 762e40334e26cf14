"""Which heads are refused, although the parser takes them."""

import pytest

from veneer_server.api.errors import HeadTooLarge, MalformedRequest
from veneer_server.api.http.heads import Meter, to_path
from veneer_server.settings import LimitSettings

HOST = (b"host", b"veneer")


@pytest.mark.parametrize(
    "host", [b"", b"veneer", b"veneer:8000", b"my_svc.ns", b"10.0.0.1:80", b"[::1]", b"[::1]:8000"]
)
def test_a_host_is_a_name_or_an_address_and_maybe_a_port(host: bytes) -> None:
    assert to_path("1.1", b"/livez?a=b", [(b"host", host)]) == b"/livez?a=b"


@pytest.mark.parametrize(
    "host",
    [b"user@veneer", b"u:p@veneer", b"veneer/v1", b"a, b", b"a b", b"veneer:x", b"a?b", b"::1"],
)
def test_a_host_that_programs_read_differently_is_refused(host: bytes) -> None:
    with pytest.raises(MalformedRequest, match="Host"):
        to_path("1.1", b"/livez", [(b"host", host)])


def test_only_http_1_1_needs_a_host() -> None:
    assert to_path("1.0", b"/livez", []) == b"/livez"
    with pytest.raises(MalformedRequest, match="must have a Host"):
        to_path("1.1", b"/livez", [])


@pytest.mark.parametrize("name", ["Host", "Authorization", "x-api-key"])
@pytest.mark.parametrize("second", [b"a", b"b"])
def test_what_names_the_host_or_the_caller_stands_there_once(name: str, second: bytes) -> None:
    twice = [(name.lower().encode(), b"a"), (name.lower().encode(), second)]
    headers = twice if name == "Host" else [HOST, *twice]
    with pytest.raises(MalformedRequest, match=f"more than one {name} header"):
        to_path("1.1", b"/livez", headers)


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"http://veneer/livez?a", b"/livez?a"),
        (b"HTTP://Veneer/livez", b"/livez"),
        (b"https://veneer", b"/"),
        (b"http://veneer?a=b", b"/?a=b"),
    ],
)
def test_a_target_may_repeat_the_host(target: bytes, path: bytes) -> None:
    assert to_path("1.1", target, [HOST]) == path
    assert to_path("1.0", target, []) == path


@pytest.mark.parametrize(
    "target",
    [
        b"http://other/livez",
        b"http://u:p@veneer/livez",
        b"http://veneer:80/livez",
        b"http:///livez",
    ],
)
def test_a_target_with_another_host_than_the_header_is_refused(target: bytes) -> None:
    with pytest.raises(MalformedRequest):
        to_path("1.1", target, [HOST])


@pytest.mark.parametrize("target", [b"*", b"veneer:443", b"ftp://veneer/livez", b"livez"])
def test_a_target_that_is_no_path_is_refused(target: bytes) -> None:
    with pytest.raises(MalformedRequest, match="must be a path"):
        to_path("1.1", target, [HOST])


@pytest.mark.parametrize("version", ["0.9", "2.0"])
def test_another_version_of_http_is_refused(version: str) -> None:
    with pytest.raises(MalformedRequest, match=f"not HTTP/{version}"):
        to_path(version, b"/livez", [HOST])


@pytest.mark.parametrize("codings", [[b"gzip, chunked"], [b"gzip", b"chunked"], [b"identity"]])
def test_a_body_in_another_coding_than_chunked_is_refused(codings: list[bytes]) -> None:
    headers = [HOST, *((b"transfer-encoding", coding) for coding in codings)]
    with pytest.raises(MalformedRequest, match="Transfer-Encoding"):
        to_path("1.1", b"/", headers)


def test_http_1_0_knows_no_chunks() -> None:
    chunked = [(b"transfer-encoding", b"Chunked")]
    assert to_path("1.1", b"/", [HOST, *chunked]) == b"/"
    with pytest.raises(MalformedRequest, match=r"only in HTTP/1\.1"):
        to_path("1.0", b"/", chunked)


def meter() -> Meter:
    return Meter(lambda: LimitSettings(max_headers=10, max_header_bytes=1024))


def test_a_head_may_be_as_large_as_the_limits() -> None:
    head = meter()
    for _ in range(2):
        head.part(24)
        for _ in range(10):
            head.part(100, fields=1)
        head.check()
        head.restart()


def test_a_head_over_the_limit_of_bytes_is_too_large() -> None:
    head = meter()
    head.part(1000)
    with pytest.raises(HeadTooLarge, match="larger than 1024 bytes"):
        head.part(25)


def test_a_head_over_the_limit_of_headers_is_too_large() -> None:
    head = meter()
    for _ in range(10):
        head.part(4, fields=1)
    with pytest.raises(HeadTooLarge, match="more than 10 headers"):
        head.part(4, fields=1)


def test_what_the_parser_keeps_to_itself_counts_until_it_reports() -> None:
    head = meter()
    for _ in range(3):
        head.fed(1024)
        head.check()
        head.part(0)
    head.fed(1000)
    head.fed(25)
    with pytest.raises(HeadTooLarge):
        head.check()
