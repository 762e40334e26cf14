"""Every error in the shape clients read, on the echo engine."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from conformance.engines import DyingEngine
from conformance.schema import OfficialSchema
from conformance.wire import error_of, events, post
from support.serving import Served, serve_echo

PATH = "/v1/chat/completions"
CHAT: dict[str, Any] = {"model": "echo", "messages": [{"role": "user", "content": "hi"}]}


@pytest.mark.requirement("errors:unknown-model")
async def test_an_unknown_model_is_404_and_names_close_ones(echo: Served) -> None:
    response = await post(echo.url, PATH, {**CHAT, "model": "ecko"})
    error = error_of(response)
    assert response.status_code == 404
    assert error["code"] == "model_not_found"
    assert error["param"] == "model"
    assert "ecko" in error["message"]
    assert "echo" in error["message"]


@pytest.mark.requirement("errors:missing-model")
@pytest.mark.parametrize("model", [{}, {"model": None}, {"model": ""}])
async def test_the_base_answers_a_request_without_a_model(
    echo: Served, model: dict[str, Any]
) -> None:
    response = await post(echo.url, PATH, {"messages": CHAT["messages"], **model})
    assert response.status_code == 200, response.text
    assert response.json()["model"] == "echo"
    assert "x-veneer-adapter" not in response.headers


@pytest.mark.requirement("errors:missing-model")
@pytest.mark.parametrize("model", [{}, {"model": None}, {"model": ""}, {"model": 7}])
async def test_where_a_name_is_required_a_request_without_a_model_is_400(
    tmp_path: Path, model: dict[str, Any]
) -> None:
    async with serve_echo(tmp_path, model={"name_required": True}) as served:
        response = await post(served.url, PATH, {"messages": CHAT["messages"], **model})
    assert response.status_code == 400
    assert error_of(response)["param"] == "model"


@pytest.mark.requirement("errors:missing-model")
async def test_a_model_that_is_no_text_is_400(echo: Served) -> None:
    response = await post(echo.url, PATH, {**CHAT, "model": 7})
    assert (response.status_code, error_of(response)["param"]) == (400, "model")


KINDS = ["embeddings", "images/generations", "audio/speech", "audio/transcriptions", "moderations"]


@pytest.mark.requirement("errors:other-kinds")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("slash", ["", "/"])
async def test_a_route_to_a_model_of_another_kind_is_400_and_says_why(
    echo: Served, kind: str, slash: str
) -> None:
    response = await post(echo.url, f"/v1/{kind}{slash}", {"model": "echo", "input": "x"})
    error = error_of(response)
    assert (response.status_code, error["code"]) == (400, "unsupported_endpoint")
    assert error["message"].startswith(f"There is no POST /v1/{kind}{slash} here. This server ")


@pytest.mark.requirement("errors:unknown-route")
@pytest.mark.parametrize("area", ["assistants", "uploads"])
async def test_a_route_to_openais_platform_is_404_and_says_what_to_do(
    echo: Served, area: str
) -> None:
    response = await post(echo.url, f"/v1/{area}", {})
    error = error_of(response)
    assert (response.status_code, error["code"]) == (404, "unknown_url")
    assert error["message"].startswith(f"There is no POST /v1/{area} here. This server ")


@pytest.mark.requirement("errors:keys")
async def test_a_missing_key_and_a_wrong_one_get_their_own_sentence(tmp_path: Path) -> None:
    async with serve_echo(tmp_path, server={"api_key": "secret"}) as served:
        missing = error_of(await post(served.url, PATH, CHAT))
        wrong = error_of(await post(served.url, PATH, CHAT, authorization="Bearer x"))
    assert missing["message"].startswith("You didn't provide an API key.")
    assert wrong["message"] == "Incorrect API key provided."
    assert missing["code"] == wrong["code"] == "invalid_api_key"


@pytest.mark.requirement("errors:context-length")
@pytest.mark.parametrize("streaming", [False, True])
async def test_a_prompt_that_does_not_fit_is_400(echo: Served, streaming: bool) -> None:
    messages = [{"role": "user", "content": "word " * 9000}]
    response = await post(echo.url, PATH, {**CHAT, "messages": messages, "stream": streaming})
    error = error_of(response)
    assert response.status_code == 400
    assert error["code"] == "context_length_exceeded"
    assert error["message"].startswith("This model's maximum context length is 8192 tokens.")


@pytest.mark.requirement("errors:bad-json")
@pytest.mark.parametrize("body", [b"{", b"", b"\xff", b"[1]", b'"x"', b"null", b'{"a": NaN}'])
async def test_a_body_that_is_no_object_is_400(echo: Served, body: bytes) -> None:
    response = await post(echo.url, PATH, body)
    assert response.status_code == 400
    assert error_of(response)["type"] == "invalid_request_error"


@pytest.mark.requirement("errors:wrong-type")
@pytest.mark.parametrize(("name", "value"), [("messages", "hi"), ("n", "two"), ("max_tokens", {})])
async def test_a_value_of_the_wrong_type_is_400(echo: Served, name: str, value: Any) -> None:
    response = await post(echo.url, PATH, {**CHAT, name: value})
    assert response.status_code == 400
    assert error_of(response)["param"] == name


@pytest.mark.requirement("errors:body-too-large")
async def test_a_body_over_the_limit_is_413(tmp_path: Path) -> None:
    async with serve_echo(tmp_path, limits={"max_body_bytes": 1024}) as served:
        response = await post(served.url, PATH, {**CHAT, "user": "u" * 1500})
        fits = await post(served.url, PATH, {**CHAT, "user": "u" * 500})
    assert response.status_code == 413
    assert error_of(response)["code"] == "request_too_large"
    assert fits.status_code == 200


@pytest.mark.requirement("errors:unknown-route")
@pytest.mark.requirement("errors:wrong-method")
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/nothing", 404), ("POST", "/v1/assistants", 404), ("GET", PATH, 405)],
)
async def test_a_wrong_address_has_the_shape_of_every_error(
    echo: Served, method: str, path: str, status: int, openai_schema: OfficialSchema
) -> None:
    async with httpx.AsyncClient(base_url=echo.url) as client:
        response = await client.request(method, path)
    assert response.status_code == status
    openai_schema.check("ErrorResponse", response.json())
    assert error_of(response)["message"]


@pytest.mark.requirement("headers:request-id")
@pytest.mark.parametrize(
    ("body", "status"), [(CHAT, 200), ({**CHAT, "stream": True}, 200), ({}, 400), (b"{", 400)]
)
async def test_every_answer_has_a_request_id(echo: Served, body: Any, status: int) -> None:
    response = await post(echo.url, PATH, body)
    assert response.status_code == status
    assert response.headers["x-request-id"]


@pytest.mark.requirement("headers:request-id")
async def test_a_well_formed_request_id_of_the_client_is_kept(echo: Served) -> None:
    kept = await post(echo.url, PATH, CHAT, **{"x-request-id": "my-id.1"})
    replaced = await post(echo.url, PATH, CHAT, **{"x-request-id": "a b"})
    assert kept.headers["x-request-id"] == "my-id.1"
    assert replaced.headers["x-request-id"] != "a b"


@pytest.mark.requirement("errors:anthropic")
@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        ({"model": "nobody"}, 404, "not_found_error"),
        ({}, 400, "invalid_request_error"),
        (b"{", 400, "invalid_request_error"),
    ],
)
async def test_an_error_of_messages_has_anthropics_shape(
    echo: Served, body: Any, status: int, kind: str
) -> None:
    whole = {**body, "max_tokens": 4, "messages": []} if isinstance(body, dict) else body
    response = await post(echo.url, "/v1/messages", whole)
    assert response.status_code == status
    document = response.json()
    assert document["type"] == "error"
    assert document["error"]["type"] == kind
    assert document["error"]["message"]


@pytest.mark.requirement("chat:stream:fault")
async def test_a_fault_inside_a_stream_is_its_last_event(
    tmp_path: Path, openai_schema: OfficialSchema
) -> None:
    async with asyncio.timeout(30), serve_echo(tmp_path, DyingEngine()) as served:
        response = await post(served.url, PATH, {**CHAT, "stream": True})
    *_, last = events(response.text)
    openai_schema.check("ErrorResponse", last)
    assert last["error"]["code"] == "engine_lost"
