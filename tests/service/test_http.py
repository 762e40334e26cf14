"""HTTP as clients, proxies and probes speak it, and as nobody should."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from starlette.routing import Mount
from structlog.testing import capture_logs

from support import builders
from support.fine_tuning import STAND_IN, create
from support.raw_http import Wire, ask, connect
from support.serving import POLL_S, Served, serve_echo, until_served
from veneer_server.api.http import exchanges
from veneer_server.app import create_app
from veneer_server.engine.base import Answer, Call, Frames
from veneer_server.engine.echo import EchoEngine

pytestmark = pytest.mark.slow  # connections are held open for seconds

HOST = b"Host: veneer\r\n"
BODY = orjson.dumps({"model": "echo", "messages": [{"role": "user", "content": "one two"}]})
STREAM = orjson.dumps({**orjson.loads(BODY), "stream": True})
GET = b"GET /livez HTTP/1.1\r\n" + HOST


def post(body: bytes, *headers: bytes, version: bytes = b"1.1") -> bytes:
    lines = [b"POST /v1/chat/completions HTTP/" + version, b"Host: veneer", *headers]
    return b"\r\n".join([*lines, b"Content-Length: %d" % len(body), b"", body])


AMBIGUOUS = {
    "length-and-chunks": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two-lengths": b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "one-length-twice": b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "a-list-of-lengths": b"Content-Length: 2, 2\r\n\r\n{}",
    "signed-length": b"Content-Length: +2\r\n\r\n{}",
    "two-codings": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "unknown-coding": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "compressed": b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "space-before-colon": b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "folded": b"X-A: b\r\n c\r\n\r\n",
    "bare-newline": b"X-A: b\nX-B: c\r\n\r\n",
    "bare-return": b"X-A: b\rX-B: c\r\n\r\n",
    "nul": b"X-A: b\x00\r\n\r\n",
    "second-host": b"Host: other\r\n\r\n",
    "second-key": b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n",
    "bad-chunk": b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
}


@pytest.mark.parametrize("rest", AMBIGUOUS.values(), ids=AMBIGUOUS)
async def test_a_request_that_could_be_read_in_two_ways_is_a_400_and_ends_the_connection(
    echo: Served, rest: bytes
) -> None:
    async with connect(echo.url) as wire:
        await wire.send(b"POST /v1/chat/completions HTTP/1.1\r\n" + HOST + rest + GET + b"\r\n")
        answer = await wire.answer()
        assert await wire.rest() == b""
    assert answer.status == 400
    assert answer.error["code"] == "malformed_request"
    assert set(answer.error) == {"message", "type", "param", "code"}
    assert answer.header("connection") == "close"
    assert answer.header("x-request-id")


async def test_a_refusal_has_anthropics_shape_on_anthropics_path(echo: Served) -> None:
    request = b"POST /v1/messages HTTP/1.1\r\n" + HOST + b"x-api-key: a\r\nx-api-key: b\r\n\r\n"
    answer = orjson.loads((await ask(echo.url, request)).body)
    assert answer["type"] == "error"
    assert answer["error"]["message"] == "The request has more than one x-api-key header."
    assert answer["request_id"]


@pytest.mark.parametrize(
    "request_",
    [
        b"\x16\x03\x01\x02\x00\x01",
        b"hello\r\n\r\n",
        b"GET /livez\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
    ids=["tls", "garbage", "http-0.9", "http-2"],
)
async def test_what_is_not_http_1_is_told_so_in_openais_shape(
    echo: Served, request_: bytes
) -> None:
    answer = await ask(echo.url, request_)
    assert (answer.status, answer.error["code"]) == (400, "malformed_request")


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (GET + b"X: y\r\n" * 10 + b"\r\n", "more than 10 headers"),
        (GET + b"X: " + b"y" * 2000 + b"\r\n\r\n", "larger than 1024 bytes"),
        (GET + b"X: " + b"y" * 2_000_000, "larger than 1024 bytes"),
        (GET + b"y" * 2_000_000, "larger than 1024 bytes"),
        (b"GET /" + b"y" * 2000 + b" HTTP/1.1\r\n", "larger than 1024 bytes"),
        (b"\r\n" * 1_000_000, "larger than 1024 bytes"),
        (
            b"POST /v1/chat/completions HTTP/1.1\r\n"
            + HOST
            + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: "
            + b"y" * 2_000_000,
            "larger than 1024 bytes",
        ),
    ],
    ids=["many", "large", "endless-value", "endless-name", "target", "blank-lines", "trailer"],
)
async def test_headers_without_end_are_a_431_that_names_the_limit(
    tmp_path: Path, request_: bytes, said: str
) -> None:
    limits = {"max_headers": 10, "max_header_bytes": 1024}
    async with serve_echo(tmp_path, limits=limits) as served, connect(served.url) as wire:
        await wire.send(request_)
        answer = await wire.answer()
        assert await wire.rest() == b""
    assert (answer.status, answer.error["code"]) == (431, "headers_too_large")
    assert said in str(answer.error["message"])


async def test_a_body_of_any_size_does_not_count_as_headers(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "w" * 500_000}]
    long = orjson.dumps({**orjson.loads(BODY), "messages": messages})
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(long), long)
    head = b"POST /v1/chat/completions HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
    async with serve_echo(tmp_path, limits={"max_header_bytes": 1024}) as served:
        assert (await ask(served.url, post(long))).status == 200
        assert (await ask(served.url, head + chunked)).status == 200


@pytest.mark.parametrize("begun", [GET, b"G", GET + b"X-A: b"])
async def test_headers_that_do_not_arrive_in_time_are_a_408(tmp_path: Path, begun: bytes) -> None:
    limits = {"header_timeout_s": 0.2}
    async with serve_echo(tmp_path, limits=limits) as served, connect(served.url) as wire:
        await wire.send(GET + b"\r\n")
        assert (await wire.answer()).status == 200
        await wire.send(begun)
        answer = await wire.answer()
        assert await wire.rest() == b""
    assert (answer.status, answer.error["code"]) == (408, "headers_too_slow")
    assert answer.error["message"] == "The headers did not arrive within 0.2 seconds."


@pytest.mark.parametrize("first", [b"", GET + b"\r\n"], ids=["fresh", "used"])
async def test_an_idle_connection_is_closed_after_the_keep_alive_time(
    tmp_path: Path, first: bytes
) -> None:
    async with (
        serve_echo(tmp_path, server={"keep_alive_s": 0.2}) as served,
        connect(served.url) as wire,
    ):
        await wire.send(first)
        if first:
            await wire.answer()
        assert await wire.rest() == b""


async def test_an_answer_to_http_1_0_ends_with_the_connection_and_has_no_chunks(
    echo: Served,
) -> None:
    for body in (BODY, STREAM):
        async with connect(echo.url) as wire:
            await wire.send(post(body, b"Connection: keep-alive", version=b"1.0"))
            answer = await wire.answer()
            text = answer.body + await wire.rest()
        assert answer.status == 200
        assert answer.header("transfer-encoding") is None
        assert answer.header("connection") == "close"
        events = text.removeprefix(b"data: ").split(b"\n\ndata: ")
        assert orjson.loads(events[0])["object"].startswith("chat.completion")
        assert (body == STREAM) == text.endswith(b"data: [DONE]\n\n")


async def test_an_offer_to_speak_http_2_is_ignored_and_the_body_is_read(echo: Served) -> None:
    offer = [b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AA"]
    async with connect(echo.url) as wire:
        for request in (post(BODY, *offer), post(BODY, *offer), post(BODY)):
            await wire.send(request)
            assert (await wire.answer()).status == 200


async def test_requests_in_one_packet_are_answered_in_order(echo: Served) -> None:
    async with connect(echo.url) as wire:
        await wire.send(post(BODY) + GET + b"\r\n" + b"GET /livez HTTP/1.1\r\n\r\n")
        answers = [await wire.answer() for _ in range(3)]
        assert await wire.rest() == b""
    assert [answer.status for answer in answers] == [200, 200, 400]
    assert b"one two" in answers[0].body


async def test_a_client_is_asked_for_its_body_and_only_when_it_is_wanted(echo: Served) -> None:
    expect = b"Expect: 100-continue"
    async with connect(echo.url) as wire:
        head, body = post(BODY, expect)[: -len(BODY)], BODY
        await wire.send(head)
        assert (await wire.answer()).status == 100
        await wire.send(body)
        assert (await wire.answer()).status == 200
    async with connect(echo.url) as wire:
        await wire.send(
            b"PUT /v1/models HTTP/1.1\r\n" + HOST + expect + b"\r\nContent-Length: 9\r\n\r\n"
        )
        assert (await wire.answer()).status == 405
        assert await wire.rest() == b""


async def test_a_header_behind_the_body_is_none_of_the_request(echo: Served) -> None:
    head = b"POST /v1/chat/completions HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
    trailer = b"%x\r\n%s\r\n0\r\nx-request-id: forged\r\n\r\n" % (len(BODY), BODY)
    answer = await ask(echo.url, head + trailer)
    assert answer.status == 200
    assert answer.header("x-request-id") != "forged"


async def test_head_is_answered_like_get_without_the_body_on_every_get_route(
    tmp_path: Path,
) -> None:
    async with (
        serve_echo(tmp_path, training={"command": STAND_IN}) as served,
        httpx.AsyncClient(base_url=served.url, follow_redirects=True) as client,
    ):
        builders.write(served.adapters / "mine")
        await until_served(served, "mine")
        paths = _get_paths(served, await _kept(client))
        assert len(paths) >= 10
        for path in paths:
            got, head = await client.get(path), await client.head(path)
            assert got.status_code == 200, path
            assert (head.status_code, head.content) == (200, b""), path
            assert head.headers["content-type"] == got.headers["content-type"], path
            assert int(head.headers["content-length"]) > 0, path


async def _kept(client: httpx.AsyncClient) -> dict[str, str]:
    """Return what stands for the places of paths to something that the server keeps."""
    asked = {"model": "echo", "input": "x"}
    response = (await client.post("/v1/responses", json=asked)).json()
    items = [{"type": "message", "role": "user", "content": "x"}]
    talk = (await client.post("/v1/conversations", json={"items": items})).json()["id"]
    found = (await client.get(f"/v1/conversations/{talk}/items")).json()
    line = {"custom_id": "1", "method": "POST", "url": "/v1/responses", "body": asked}
    form = {"file": ("rows.jsonl", json.dumps(line))}
    file = (await client.post("/v1/files", files=form, data={"purpose": "batch"})).json()["id"]
    ends = {"endpoint": "/v1/responses", "completion_window": "24h"}
    batch = (await client.post("/v1/batches", json={"input_file_id": file, **ends})).json()["id"]
    return {
        "{file_id}": file,
        "{batch_id}": batch,
        "{job_id}": (await create(client))["id"],
        "{response_id}": response["id"],
        "{conversation_id}": talk,
        "{item_id}": found["data"][0]["id"],
    }


def _get_paths(served: Served, kept: dict[str, str]) -> list[str]:
    assert served.parts is not None
    names = {"{model_id:path}": "mine", "{name}": "mine", "{alias}": "live", **kept}
    paths = []
    for route in create_app(served.parts.server).routes:
        if isinstance(route, Mount):  # the console; its own tests ask it
            continue
        path: Any = route.path  # type: ignore[attr-defined]
        for place, name in names.items():
            path = path.replace(place, name)
        if "GET" in route.methods:  # type: ignore[attr-defined]
            paths.append(path)
    return paths


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/models", "GET, HEAD"),
        ("PATCH", "/v1/models/echo", "DELETE, GET, HEAD"),
        ("HEAD", "/v1/chat/completions", "POST"),
        ("POST", "/v1/adapters/mine", "DELETE, GET, HEAD, PATCH"),
        ("OPTIONS", "/metrics", "GET, HEAD"),
    ],
)
async def test_a_405_names_every_method_of_the_path(
    echo: Served, method: str, path: str, allowed: str
) -> None:
    async with httpx.AsyncClient(base_url=echo.url) as client:
        answer = await client.request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
    if method != "HEAD":
        said = f"{path} does not take {method}, only {allowed}."
        assert answer.json()["error"]["message"] == said


async def test_a_405_and_a_404_have_anthropics_shape_under_its_path(echo: Served) -> None:
    async with httpx.AsyncClient(base_url=echo.url) as client:
        wrong = await client.get("/v1/messages")
        unknown = await client.post("/v1/messages/")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
    assert wrong.json()["error"]["message"] == "/v1/messages does not take GET, only POST."
    assert unknown.status_code == 404
    assert unknown.json()["error"]["type"] == "not_found_error"
    assert unknown.json()["error"]["message"].endswith("Did you mean /v1/messages?")


@pytest.mark.parametrize(
    "path", ["/chat/completions", "/v1/v1/chat/completions", "/v1/chat/completions/"]
)
async def test_a_404_names_the_url_and_the_one_that_was_meant(echo: Served, path: str) -> None:
    async with httpx.AsyncClient(base_url=echo.url) as client:
        answer = await client.post(path, content=BODY)
        models = await client.get("/v1/models/")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_url")
    said = f"There is no POST {path} here. Did you mean /v1/chat/completions?"
    assert answer.json()["error"]["message"] == said
    assert models.json()["error"]["code"] == "unknown_url"


async def test_a_client_that_leaves_within_its_body_is_no_fault_of_the_server(
    echo: Served,
) -> None:
    with capture_logs() as lines:
        async with connect(echo.url) as wire:
            await wire.send(post(BODY, b"Expect: 100-continue")[: -len(BODY) // 2])
            assert (await wire.answer()).status == 100
        async with asyncio.timeout(10):
            while "/v1/chat/completions" not in [line.get("path") for line in lines]:
                await asyncio.sleep(POLL_S)
    assert [line["status"] for line in lines if line["event"] == "request"] == [499]
    assert "request failed" not in [line["event"] for line in lines]


class WaitingEngine(EchoEngine):
    """Answers nobody."""

    async def respond(self, call: Call) -> Answer | Frames:
        await asyncio.Event().wait()
        raise AssertionError(call)


async def test_what_is_answered_ends_when_its_client_leaves_although_more_waits_behind_it(
    tmp_path: Path,
) -> None:
    async with serve_echo(tmp_path, WaitingEngine()) as served:
        with capture_logs() as lines:
            async with connect(served.url) as wire:
                await wire.send(GET + b"\r\n" + post(BODY) + GET + b"\r\n")
                assert (await wire.answer()).status == 200
            async with asyncio.timeout(10):
                while "/v1/chat/completions" not in [line.get("path") for line in lines]:
                    await asyncio.sleep(POLL_S)
    assert 499 in [line["status"] for line in lines if line["event"] == "request"]


async def test_a_refused_client_reads_why_although_it_goes_on_sending(
    echo: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchanges, "_LINGER_S", 3600)
    async with connect(echo.url) as wire:
        await wire.send(b"GET /livez HTTP/1.1\r\n\r\n")
        assert (await wire.answer()).status == 400
        for _ in range(20):
            await wire.send(b"x" * 100_000)
        assert await wire.rest() == b""


async def test_a_refused_client_that_does_not_leave_is_cut(
    echo: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchanges, "_LINGER_S", 0)
    async with connect(echo.url) as wire:
        await wire.send(b"GET /livez HTTP/1.1\r\n\r\n")
        assert (await wire.answer()).status == 400
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(_send_for_ever(wire), 10)


async def _send_for_ever(wire: Wire) -> None:
    while True:
        await wire.send(b"x")
        await asyncio.sleep(POLL_S)
