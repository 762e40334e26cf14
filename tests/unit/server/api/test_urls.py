"""What a client learns that asked for a path or a method that is not there."""

import pytest
from fastapi import APIRouter

from veneer_server.api.generation import router as generation
from veneer_server.api.models import router as models
from veneer_server.api.operations import router as operations
from veneer_server.api.urls import add_head, explain_method, explain_unknown, methods_of

ROUTES = [*generation.routes, *models.routes, *operations.routes]


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("/chat/completions", "/v1/chat/completions"),
        ("/v1/v1/chat/completions", "/v1/chat/completions"),
        ("/v1/chat/completions/", "/v1/chat/completions"),
        ("//v1//chat/completions", "/v1/chat/completions"),
        ("/api/v1/messages", "/v1/messages"),
        ("/v1/chat/completions/chat/completions", "/v1/chat/completions"),
        ("/v1/chat/completions/models", "/v1/models"),
        ("/models", "/v1/models"),
        ("/v1/v1/models/pirate", "/v1/models/pirate"),
        ("/v1/tokenize", "/tokenize"),
        ("/v1/readyz", "/readyz"),
        ("/health/", "/health"),
    ],
)
def test_a_path_with_v1_forgotten_or_doubled_names_the_right_one(asked: str, meant: str) -> None:
    sentence = explain_unknown(ROUTES, "POST", asked)
    assert sentence == f"There is no POST {asked} here. Did you mean {meant}?"


@pytest.mark.parametrize("asked", ["/", "/favicon.ico", "/v1", "/v1/nothing"])
def test_a_path_that_resembles_none_is_only_named(asked: str) -> None:
    assert explain_unknown(ROUTES, "GET", asked) == f"There is no GET {asked} here."


def test_a_long_path_is_cut() -> None:
    assert len(explain_unknown(ROUTES, "GET", "/a" * 50_000)) < 300


def test_a_method_that_a_path_does_not_take_names_all_that_it_takes() -> None:
    assert methods_of(ROUTES, "/v1/models/pirate") == ["DELETE", "GET"]
    assert methods_of(ROUTES, "/nothing") == []
    sentence = explain_method(ROUTES, "GET", "/v1/messages")
    assert sentence == "/v1/messages does not take GET, only POST."


def test_an_action_takes_its_own_methods_only() -> None:
    router = APIRouter()
    router.add_api_route("/things/check", print, methods=["POST"])
    router.add_api_route("/things/{name}", print, methods=["GET"])
    assert methods_of(router.routes, "/things/check") == ["POST"]
    assert methods_of(router.routes, "/things/mine") == ["GET"]


def test_head_comes_with_get_and_only_with_get() -> None:
    router = APIRouter()
    router.add_api_route("/both", print, methods=["GET", "POST"])
    router.add_api_route("/post", print, methods=["POST"])
    add_head(router.routes)
    assert methods_of(router.routes, "/both") == ["GET", "HEAD", "POST"]
    assert methods_of(router.routes, "/post") == ["POST"]
