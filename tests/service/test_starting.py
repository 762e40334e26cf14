"""What a server answers before it is ready, over a real socket."""

import asyncio
import logging
from pathlib import Path

import httpx
import pytest
from structlog.testing import capture_logs

from veneer_server.api.listener import bind
from veneer_server.api.starting.early import answering
from veneer_server.app import Start, serve
from veneer_server.engine.stages import Stage, Stages
from veneer_server.settings import Settings

TIMEOUT_S = 30


async def test_until_it_is_ready_a_server_lives_and_says_how_far_it_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "uvicorn")
    stages = Stages()
    stages.begin(Stage.WEIGHTS)
    with bind("127.0.0.1", 0) as listener:
        listener.listen()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with (
            asyncio.timeout(TIMEOUT_S),
            answering(listener, stages, Settings()),
            httpx.AsyncClient(base_url=url) as client,
        ):
            assert (await client.get("/livez")).status_code == 200
            answer = await client.get("/readyz")
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
            body = answer.json()
            assert (body["status"], body["stage"]) == ("starting", "weights")
            assert "weights" in body["seconds"]
            assert (await client.head("/health")).status_code == 503
            refused = await client.post("/v1/chat/completions", json={"messages": []})
            assert refused.status_code == 503
            assert refused.json()["error"]["code"] == "engine_unavailable"
            assert "at the stage 'weights'" in refused.json()["error"]["message"]
        told = [record for record in caplog.records if record.name.startswith("uvicorn")]
        assert told == []  # nothing has started or shut down for who reads the log
        assert listener.fileno() >= 0  # the server that is ready still needs it


async def test_a_request_during_the_start_has_an_id_and_a_line_in_the_log() -> None:
    with bind("127.0.0.1", 0) as listener, capture_logs() as lines:
        listener.listen()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with (
            asyncio.timeout(TIMEOUT_S),
            answering(listener, Stages(), Settings()),
            httpx.AsyncClient(base_url=url) as client,
        ):
            refused = await client.post("/v1/completions", json={})
        [line] = [line for line in lines if line["event"] == "request"]
        assert line["request_id"] == refused.headers["x-request-id"]
        assert (line["status"], line["code"]) == (503, "engine_unavailable")


async def test_a_start_that_fails_at_once_ends_what_answers_early() -> None:
    with bind("127.0.0.1", 0) as listener:
        listener.listen()
        async with asyncio.timeout(TIMEOUT_S):
            with pytest.raises(OSError, match="broken"):
                async with answering(listener, Stages(), Settings()):
                    raise OSError("broken")


async def test_a_request_that_comes_during_the_start_is_answered_once_it_is_over(
    tmp_path: Path,
) -> None:
    flags = {
        "engine": {"kind": "echo"},
        "adapters": {"dir": tmp_path / "a"},
        "state": {"dir": tmp_path / "s"},
    }
    settings = Settings.load(environ={}, flags=flags)
    start = Start()
    ready = asyncio.Event()
    with bind("127.0.0.1", 0) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        task = asyncio.create_task(serve(settings, listener, lambda *_: ready.set(), start=start))
        try:
            async with asyncio.timeout(TIMEOUT_S), httpx.AsyncClient(base_url=url) as client:
                await ready.wait()
                assert (await client.get("/readyz")).json() == {"status": "ok"}
                version = (await client.get("/version")).json()
        finally:
            task.cancel()
            await asyncio.wait([task])
    assert version["dtype"] == "bfloat16"
    assert start.stages.now is None
    assert list(start.stages.took_s()) == [Stage.MODEL, Stage.ADAPTERS]
