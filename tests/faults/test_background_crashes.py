"""A server that is killed while it generates in the background leaves an honest record."""

import asyncio
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from support.places import TESTS
from support.serving import POLL_S, serve_echo

pytestmark = pytest.mark.slow

PATH = "/v1/responses"
BODY = {"model": "echo", "input": "hello"}


def background_on_a_killed_server(folder: Path) -> tuple[str, str]:
    """Return the ids of a response that was complete and of one that was being generated."""
    command = [sys.executable, "-m", "support.hanging", str(folder)]
    with subprocess.Popen(command, cwd=TESTS, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            with httpx.Client(base_url=process.stdout.readline().strip(), timeout=30) as client:
                begun = client.post(PATH, json={**BODY, "background": True}).json()["id"]
                talk = client.post("/v1/conversations", json={"items": []}).json()["id"]
                while client.get(f"{PATH}/{begun}").json()["status"] != "in_progress":
                    pass
        finally:
            process.kill()
    return begun, talk


async def test_a_run_of_a_killed_server_has_failed_after_the_next_start(tmp_path: Path) -> None:
    begun, talk = await asyncio.to_thread(background_on_a_killed_server, tmp_path)
    async with (
        serve_echo(tmp_path) as served,
        httpx.AsyncClient(base_url=served.url, timeout=30) as client,
        asyncio.timeout(30),
    ):
        while (found := (await client.get(f"{PATH}/{begun}")).json())["status"] != "failed":
            await asyncio.sleep(POLL_S)
        assert "died" in found["error"]["message"]
        assert (await client.get(f"/v1/conversations/{talk}")).status_code == 200
        assert (await client.post(PATH, json=BODY)).json()["store"] is True
