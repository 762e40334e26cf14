"""Who may call, how much they may send, and what is always in the answer."""

import asyncio
from pathlib import Path

import httpx
import pytest

from support.serving import Served, serve_echo
from veneer_server.engine.base import Answer, Call, Frames
from veneer_server.engine.echo import EchoEngine

CHAT = {"model": "echo", "messages": [{"role": "user", "content": "hi"}]}


async def test_with_a_key_every_v1_route_asks_for_it(tmp_path: Path) -> None:
    async with (
        serve_echo(tmp_path, server={"api_key": "secret"}) as served,
        httpx.AsyncClient(base_url=served.url) as client,
    ):
        paths = {
            route.path: sorted(route.methods)[0]
            for route in _routes(served)
            if route.path.startswith("/v1") or "tokenize" in route.path
        }
        assert len(paths) >= 9
        for path, method in paths.items():
            for headers in ({}, {"authorization": "Bearer wrong"}, {"x-api-key": ""}):
                answer = await client.request(method, path, json=CHAT, headers=headers)
                assert answer.status_code == 401, path
        bearer = {"authorization": "Bearer secret"}
        assert (await client.get("/v1/models", headers=bearer)).status_code == 200
        assert (await client.get("/v1/models", headers={"x-api-key": "secret"})).status_code == 200
        assert (await client.get("/readyz")).status_code == 200


def _routes(served: Served):  # noqa: ANN202 - starlette's own type
    from veneer_server.api import generation, models
    from veneer_server.api.admin import adapters

    assert served.parts is not None
    return [r for module in (adapters, generation, models) for r in module.router.routes]


async def test_a_body_over_the_limit_is_refused_also_without_a_length(echo: Served) -> None:
    async def endless():  # noqa: ANN202
        for _ in range(100):
            yield b" " * 65536

    async with httpx.AsyncClient(base_url=echo.url) as client:
        for content in (b" " * (4 * 2**20 + 1), endless()):
            answer = await client.post("/v1/chat/completions", content=content)
            assert answer.status_code == 413
            assert answer.json()["error"]["code"] == "request_too_large"


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[1]", b"null", b"\xff\xfe", b'{"a": NaN}', b"[" * 5000 + b"]" * 5000],
    ids=["empty", "cut", "list", "null", "utf-16", "nan", "deep"],
)
async def test_what_is_not_a_json_object_is_a_400_in_openais_shape(
    echo: Served, body: bytes
) -> None:
    async with httpx.AsyncClient(base_url=echo.url) as client:
        answer = await client.post("/v1/chat/completions", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_json"
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


async def test_a_request_id_is_made_or_kept_when_it_is_harmless(echo: Served) -> None:
    async with httpx.AsyncClient(base_url=echo.url) as client:
        made = await client.get("/livez")
        kept = await client.get("/livez", headers={"x-request-id": "abc-1"})
        odd = await client.get("/livez", headers={"x-request-id": "a b"})
    assert made.headers["x-request-id"].startswith("req_")
    assert kept.headers["x-request-id"] == "abc-1"
    assert odd.headers["x-request-id"].startswith("req_")


class BrokenEngine(EchoEngine):
    """Fails in a way nobody foresaw."""

    async def respond(self, call: Call) -> Answer | Frames:
        raise KeyError("a secret of the server")


async def test_an_unforeseen_error_is_a_500_that_tells_nothing_but_its_request_id(
    tmp_path: Path,
) -> None:
    async with (
        serve_echo(tmp_path, BrokenEngine()) as served,
        httpx.AsyncClient(base_url=served.url) as client,
    ):
        answer = await client.post("/v1/chat/completions", json=CHAT)
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "internal_error"
    assert "secret" not in answer.text
    assert answer.headers["x-request-id"]


async def test_while_draining_the_server_is_alive_but_not_ready(echo: Served) -> None:
    assert echo.parts is not None
    async with httpx.AsyncClient(base_url=echo.url) as client:
        assert (await client.get("/readyz")).status_code == 200
        echo.parts.server.draining.set()
        async with asyncio.timeout(30):
            assert (await client.get("/readyz")).status_code == 503
            assert (await client.get("/livez")).status_code == 200
