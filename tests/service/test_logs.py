"""The line of a request: all of it in one place, for people or for programs."""

import json
from pathlib import Path

import httpx
import pytest
import structlog

from support import builders
from support.serving import logging_to_stderr, serve_echo, until_served

SECRET = "xylophone"


async def lines(
    folder: Path, style: str, captured: pytest.CaptureFixture[str], *bodies: dict[str, object]
) -> list[str]:
    """Return what is logged of ``bodies``, asked one after the other."""
    builders.write(folder / "adapters" / "mine")
    with logging_to_stderr(style):
        async with serve_echo(folder) as served, httpx.AsyncClient(base_url=served.url) as client:
            await until_served(served, "mine")
            captured.readouterr()
            for body in bodies:
                messages = [{"role": "user", "content": f"one {SECRET}"}]
                await client.post("/v1/chat/completions", json={"messages": messages, **body})
            await client.get("/readyz")
    return [line for line in captured.readouterr().err.splitlines() if "/v1/chat" in line]


async def test_a_line_says_who_answered_what_it_cost_and_how_long_it_took(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    [text] = await lines(tmp_path, "auto", capfd, {"model": "mine", "stream": True})
    line = json.loads(text)
    assert line.pop("adapter").startswith("mine@1#sha256:")
    assert line.pop("request_id").startswith("req_")
    assert line.pop("ttft_ms") >= 0
    assert line.pop("duration_ms") >= 0
    assert line.pop("timestamp")
    assert line == {
        "event": "request",
        "level": "info",
        "logger": "veneer_server.api.access",
        "method": "POST",
        "path": "/v1/chat/completions",
        "status": 200,
        "model": "mine",
        "outcome": "completed",
        "input_tokens": 2,
        "output_tokens": 3,
    }


async def test_the_line_of_an_error_has_its_code_and_of_a_long_name_only_the_beginning(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    [text] = await lines(tmp_path, "json", capfd, {"model": "x" * 500})
    line = json.loads(text)
    assert (line["status"], line["code"]) == (404, "model_not_found")
    assert line["model"] == "x" * 200


async def test_a_model_that_is_no_text_is_in_no_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    [text] = await lines(tmp_path, "json", capfd, {"model": {"name": SECRET * 100}})
    assert (json.loads(text)["status"], SECRET in text) == (400, False)


@pytest.mark.parametrize("style", ["json", "pretty"])
async def test_what_users_write_is_in_no_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], style: str
) -> None:
    bodies: list[dict[str, object]] = [{"model": "mine"}, {"model": "mine", "logprobs": True}]
    found = await lines(tmp_path, style, capfd, *bodies)
    assert len(found) == 2
    assert SECRET not in "".join(found)
    assert all(line.startswith("{") for line in found) is (style == "json")


def test_a_traceback_shows_where_and_none_of_the_values(
    capfd: pytest.CaptureFixture[str],
) -> None:
    def fail(hidden: str) -> None:
        raise ValueError(len(hidden))

    with logging_to_stderr("pretty"):
        try:
            fail(SECRET)
        except ValueError:
            structlog.get_logger("test").exception("failed")
    said = capfd.readouterr().err
    assert "in fail" in said
    assert SECRET not in said
