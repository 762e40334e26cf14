"""``veneer adapters`` where the connection, the address or the server is not what it should be."""

import json
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from support.adapters_stub import AdaptersStub
from support.serving import free_port
from support.typed import done, failed
from veneer_server.commands.client.connection import Connection
from veneer_server.commands.client.failures import CannotConnect, NoAnswer

# A connection that fails


def test_no_server_is_one_sentence_that_says_where_and_what_to_do() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    told = failed(url, "list")
    assert f"There is no server at {url} (Connection refused)" in told
    assert "veneer serve" in told
    assert len(told.splitlines()) == 1


@contextmanager
def deaf(backlog: int) -> Iterator[str]:
    """Listen, and never take a connection; those beyond the backlog are not even made."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(backlog)
        yield "http://{}:{}".format(*listener.getsockname())


def test_a_server_that_never_answers_is_not_waited_for_for_ever() -> None:
    said = pytest.raises(NoAnswer, match=r"did not answer within 0\.05 s")
    with deaf(8) as url, Connection(url, answer_s=0.05) as connection, said:
        connection.post("/v1/adapters")


def test_a_server_that_takes_no_connection_is_as_good_as_none() -> None:
    with deaf(0) as url, ExitStack() as others:
        where = url.removeprefix("http://").split(":")
        for _ in range(3):
            other = others.enter_context(socket.socket())
            other.setblocking(False)
            other.connect_ex((where[0], int(where[1])))
        said = pytest.raises(CannotConnect, match="does not take the connection")
        with Connection(url, connect_s=0.05) as connection, said:
            connection.get("/v1/adapters")


def broken(request: Request) -> Response:
    """Cut the connection without an answer."""
    request.environ["werkzeug.socket"].shutdown(2)
    return Response(status=500)


def test_a_post_whose_connection_broke_is_repeated_with_its_key(
    server: str, stub: AdaptersStub, httpserver: HTTPServer
) -> None:
    stub.have("mine")
    keys = []

    def done_but_not_told(request: Request) -> Response:
        stub(request)
        keys.append(request.headers["idempotency-key"])
        return broken(request)

    httpserver.expect_oneshot_request("/v1/adapters/mine/load").respond_with_handler(
        done_but_not_told
    )
    done(server, "load", "mine")
    assert stub.done == ["load mine"]
    assert [seen.headers["Idempotency-Key"] for seen in stub.seen] == keys * 2


@pytest.mark.parametrize(
    "arguments", [("rm", "mine", "--yes"), ("alias", "mine", "1", "--if-version", "1")]
)
def test_what_would_misread_its_own_success_is_not_repeated(
    server: str, stub: AdaptersStub, httpserver: HTTPServer, arguments: tuple[str, ...]
) -> None:
    stub.have("mine")
    httpserver.expect_oneshot_request(re.compile(".*")).respond_with_handler(broken)
    assert server in failed(server, *arguments)
    assert stub.seen == []


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, "<html>"),
        (404, "<html>"),
        (302, ""),
        (500, "[]"),
        (500, '{"error": "x"}'),
        (200, "[]"),
        (200, '{"data": [{"name": 1}]}'),
        (200, '{"data": [], "has_more": true, "next": "c1"}'),
    ],
)
def test_what_is_not_veneer_is_said_to_be_something_else(
    httpserver: HTTPServer, status: int, body: str
) -> None:
    httpserver.expect_request("/v1/adapters").respond_with_data(body, status)
    told = failed(httpserver.url_for("").rstrip("/"), "list")
    assert "is not a Veneer server" in told


def test_a_listing_without_end_is_not_followed_for_ever(httpserver: HTTPServer) -> None:
    def empty(request: Request) -> Response:
        after = int(request.args.get("after", "0"))
        page = {"object": "list", "data": [], "has_more": True, "next": str(after + 1)}
        return Response(json.dumps(page), content_type="application/json")

    httpserver.expect_request("/v1/adapters").respond_with_handler(empty)
    assert "no next page" in failed(httpserver.url_for("").rstrip("/"), "list")


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://x", "http://", "http://u:p@h"])
def test_a_url_that_is_none_is_told_its_form(url: str) -> None:
    assert "Write --url as http://" in failed(url, "list", code=2)


def test_a_key_that_no_header_can_carry_is_refused(server: str) -> None:
    assert "ASCII" in failed(server, "list", "--key", "geheim\n", code=2)
