"""What signals do to a server, from when it says that it is ready."""

import asyncio
import gc
import os
import signal
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from structlog.testing import capture_logs

from veneer_server.api.deps import Server
from veneer_server.api.listener import bind
from veneer_server.app import serve
from veneer_server.settings import Settings, SettingsError


def loaded(folder: Path, **sections: Mapping[str, Any]) -> Settings:
    flags = {
        "adapters": {"dir": folder / "adapters"},
        "state": {"dir": folder / "state"},
        "engine": {"kind": "echo"},
        **sections,
    }
    return Settings.load(environ={}, flags=flags)


async def test_a_hang_up_changes_limits_and_survives_a_file_that_cannot_be_used(
    tmp_path: Path,
) -> None:
    settings = loaded(tmp_path)
    tighter = loaded(tmp_path, limits={"max_body_bytes": 1024})
    answers: list[Settings | SettingsError] = [SettingsError("no such file"), tighter]
    port = asyncio.get_running_loop().create_future()

    def read() -> Settings:
        found = answers.pop(0)
        if isinstance(found, SettingsError):
            raise found
        return found

    async def size_is_refused(client: httpx.AsyncClient) -> bool:
        return (await client.post("/tokenize", content=b" " * 2000)).status_code == 413

    with bind("127.0.0.1", 0) as listener:
        served = asyncio.create_task(
            serve(settings, listener, lambda _server, found: port.set_result(found), read)
        )
        async with (
            asyncio.timeout(30),
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{await port}") as client,
        ):
            os.kill(os.getpid(), signal.SIGHUP)
            while len(answers) > 1:
                assert not await size_is_refused(client)
            os.kill(os.getpid(), signal.SIGHUP)
            while not await size_is_refused(client):
                assert not served.done()
            os.kill(os.getpid(), signal.SIGTERM)
            await served


@pytest.mark.slow
async def test_what_a_server_was_built_from_is_not_looked_through_while_it_serves(
    tmp_path: Path,
) -> None:
    def ready(_server: Server, _port: int) -> None:
        exempt.append(gc.get_freeze_count())
        os.kill(os.getpid(), signal.SIGTERM)

    exempt = [gc.get_freeze_count()]
    with bind("127.0.0.1", 0) as listener:
        async with asyncio.timeout(30):
            await serve(loaded(tmp_path), listener, ready)
    assert exempt[1] > exempt[0] + 100


@pytest.mark.slow
async def test_a_client_that_reads_nothing_is_cut_after_the_deadline(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    settings = loaded(tmp_path, server={"drain_timeout_s": 0.2})
    text = ("w" * 400 + " ") * 8000  # few tokens, and more than the sockets' buffers hold
    messages = [{"role": "user", "content": text}]
    body = {"model": "echo", "stream": True, "messages": messages}
    content = orjson.dumps(body)
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
    port = asyncio.get_running_loop().create_future()

    with bind("127.0.0.1", 0) as listener:
        served = asyncio.create_task(
            serve(settings, listener, lambda _server, found: port.set_result(found))
        )
        async with asyncio.timeout(30):
            with socket.create_connection(("127.0.0.1", await port)) as client:
                await asyncio.to_thread(client.sendall, head % len(content) + content)
                await asyncio.to_thread(client.recv, 1)
                os.kill(os.getpid(), signal.SIGTERM)
                with capture_logs() as lines:
                    await served
    # The request ended by itself, when its connection was cut: uvicorn had nothing to cancel.
    assert "Shutting down" in caplog.text
    assert "Cancel" not in caplog.text
    assert [line["code"] for line in lines if line["event"] == "request"] == [
        "server_shutting_down"
    ]


async def test_a_stop_asked_for_on_reading_ready_is_obeyed(tmp_path: Path) -> None:
    settings = loaded(tmp_path)

    def stop(_server: Server, _port: int) -> None:
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
        os.kill(os.getpid(), signal.SIGTERM)

    with bind("127.0.0.1", 0) as listener:
        async with asyncio.timeout(30):
            await serve(settings, listener, stop)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
