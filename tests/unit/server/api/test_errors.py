"""One table from every exception to what a client of OpenAI or Anthropic sees."""

from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from fastapi import Request
from starlette.exceptions import HTTPException

from veneer_adapters import errors as adapters
from veneer_server.api import errors
from veneer_server.api.errors import answer, to_api_error, to_body, to_event
from veneer_server.engine import base as engine
from veneer_server.serving.resolving import ModelMissing
from veneer_server.tenancy import errors as tenancy

NEVER_ANSWERED = (
    adapters.CatalogUnreadable,
    adapters.StateFolderInUse,
    engine.EngineNotStarted,
    adapters.BaseUnreadable,
    adapters.NotRepairable,
)
"""The start and the command line meet these; no request can."""


def leaves(cls: type[Exception]) -> Iterator[type[Exception]]:
    below = cls.__subclasses__()
    if not below:
        yield cls
    for child in below:
        yield from leaves(child)


LEAVES = sorted(
    {
        leaf
        for root in (adapters.AdapterError, engine.EngineError, errors.ApiFault)
        for leaf in leaves(root)
        if not issubclass(leaf, NEVER_ANSWERED) and leaf.__module__.startswith("veneer_")
    },
    key=lambda cls: cls.__name__,
)
MADE_OTHERWISE: dict[type[Exception], tuple[str, ...]] = {
    adapters.AdapterFailed: ("pirate", "truncated", "The weights end early."),
}


def make(cls: type[Exception]) -> Exception:
    return cls(*MADE_OTHERWISE.get(cls, ("The fact.",)))


def request(path: str = "/v1/chat/completions") -> Request:
    scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": []}
    state = {"request_id": "req_1"}
    return Request({**scope, "server": ("127.0.0.1", 80), "scheme": "http", "state": state})


@pytest.mark.parametrize("cls", LEAVES, ids=lambda cls: cls.__name__)
def test_every_error_has_a_row_of_its_own_or_of_its_branch(cls: type[Exception]) -> None:
    found = to_api_error(make(cls))
    assert found.code != "internal_error"
    assert found.status < 500 or found.status in (503, 507)
    assert found.message == str(make(cls))


@pytest.mark.parametrize("cls", LEAVES, ids=lambda cls: cls.__name__)
def test_who_may_retry_is_told_when_and_who_may_not_is_not(cls: type[Exception]) -> None:
    found = to_api_error(make(cls))
    if found.status == 503:
        assert found.retry_after_s is not None
        assert 0 < found.retry_after_s <= 60
    else:
        assert found.retry_after_s is None


def test_a_subclass_inherits_its_parents_row() -> None:
    found = to_api_error(adapters.LoadTimedOut("It took too long."))
    assert (found.status, found.code) == (503, "adapter_unavailable")


def test_the_nearest_ancestor_in_the_table_wins() -> None:
    # NoSlotFree is AdapterUnavailable too, and has its own row.
    assert to_api_error(adapters.NoSlotFree("Full.")).code == "adapter_capacity"
    assert to_api_error(engine.ContextLengthExceeded("Long.")).code == "context_length_exceeded"


def test_a_rejected_adapter_says_why_in_param() -> None:
    found = to_api_error(adapters.RankTooLarge("Rank 128."))
    assert (found.code, found.param) == ("adapter_invalid", "rank_too_large")


def test_an_unknown_model_is_a_404_that_names_close_matches() -> None:
    found = to_api_error(adapters.AdapterNotFound("pirat", ("pirate",)))
    assert (found.status, found.code, found.param) == (404, "model_not_found", "model")
    assert "`pirate`" in found.message


def test_the_field_at_fault_is_named() -> None:
    assert to_api_error(engine.RequestRejected("No.", param="messages.0")).param == "messages.0"
    assert to_api_error(ModelMissing("No model.", param="model")).param == "model"


@pytest.mark.parametrize("cls", [RuntimeError, KeyError, engine.EngineError])
def test_an_unexpected_error_never_shows_its_message(cls: type[Exception]) -> None:
    found = to_api_error(cls("/srv/secret path"))
    assert (found.status, found.code) == (500, "internal_error")
    assert "secret" not in found.message


HTTP_FAULTS = [(404, "unknown_url"), (405, "method_not_allowed"), (418, None)]


@pytest.mark.parametrize(("status", "code"), HTTP_FAULTS)
def test_the_frameworks_own_errors_keep_their_status(status: int, code: str | None) -> None:
    found = to_api_error(HTTPException(status))
    assert (found.status, found.code) == (status, code)


def test_openai_clients_get_all_four_fields() -> None:
    body = to_body(to_api_error(tenancy.Unauthorized("No.")))
    assert body == {
        "error": {
            "message": "No.",
            "type": "invalid_request_error",
            "param": None,
            "code": "invalid_api_key",
        }
    }


ANTHROPIC = [
    (tenancy.Unauthorized("x"), "authentication_error"),
    (adapters.AdapterNotFound("x"), "not_found_error"),
    (errors.BodyTooLarge("x"), "request_too_large"),
    (engine.EngineUnavailable("x"), "overloaded_error"),
    (engine.RequestRejected("x"), "invalid_request_error"),
    (RuntimeError("x"), "api_error"),
]


@pytest.mark.parametrize(("error", "kind"), ANTHROPIC, ids=[kind for _, kind in ANTHROPIC])
def test_anthropic_clients_get_their_own_shape(error: Exception, kind: str) -> None:
    body = to_body(to_api_error(error), anthropic=True)
    assert body["type"] == "error"
    assert body["error"]["type"] == kind


@pytest.mark.parametrize(
    ("path", "headers", "expected"),
    [
        ("/v1/messages", [], True),
        ("/v1/messages/count_tokens", [], True),
        ("/v1/models", [(b"anthropic-version", b"2023-06-01")], True),
        ("/v1/models", [(b"x-api-key", b"k")], False),
    ],
)
def test_anthropics_clients_are_known_by_path_or_header(
    path: str, headers: list[tuple[bytes, bytes]], expected: bool
) -> None:
    assert errors.is_anthropic({"path": path, "headers": headers}) is expected


def parse_event(raw: bytes) -> tuple[str | None, Any]:
    lines = raw.decode().removesuffix("\n\n").split("\n")
    name = lines[0].removeprefix("event: ") if lines[0].startswith("event:") else None
    return name, orjson.loads(lines[-1].removeprefix("data: "))


def test_a_fault_inside_a_stream_speaks_the_streams_dialect() -> None:
    lost = to_api_error(engine.EngineLost("It died."))
    name, body = parse_event(to_event(lost, "/v1/chat/completions", 3))
    assert (name, body["error"]["code"]) == (None, "engine_lost")
    name, body = parse_event(to_event(lost, "/v1/responses", 3))
    assert (name, body["type"], body["code"], body["sequence_number"]) == (
        *("error", "error", "engine_lost", 3),
    )
    name, body = parse_event(to_event(lost, "/v1/messages", 3))
    assert (name, body["type"], body["error"]["type"]) == ("error", "error", "overloaded_error")


async def test_a_moment_that_will_pass_carries_retry_after() -> None:
    response = await answer(request(), engine.EngineUnavailable("Not there."))
    assert (response.status_code, response.headers["retry-after"]) == (503, "10")


async def test_anthropic_clients_learn_the_requests_id() -> None:
    response = await answer(request("/v1/messages"), tenancy.Unauthorized("No."))
    assert orjson.loads(response.body)["request_id"] == "req_1"


async def test_a_missing_key_is_asked_for() -> None:
    response = await answer(request(), tenancy.Unauthorized("No."))
    assert response.headers["www-authenticate"] == "Bearer"
    assert "retry-after" not in response.headers


def test_a_load_that_failed_because_the_engine_is_gone_says_so() -> None:
    error = adapters.LoadFailed("The adapter could not be loaded.")
    error.__cause__ = engine.EngineLost("The engine stopped.", retry_after_s=7.2)
    found = to_api_error(error)
    assert (found.status, found.code, found.retry_after_s) == (503, "engine_lost", 8)
