"""What /readyz says when the server lives and cannot do all of its work."""

import asyncio

import httpx

from support.serving import POLL_S, Served


async def test_a_task_that_keeps_failing_makes_the_server_not_ready_and_is_named(
    echo: Served,
) -> None:
    async def fail() -> None:
        raise OSError("The disk is gone.")

    assert echo.parts is not None
    echo.parts.background.start("doomed", fail)
    async with asyncio.timeout(20), httpx.AsyncClient(base_url=echo.url) as client:
        while (answer := await client.get("/readyz")).status_code == 200:
            await asyncio.sleep(POLL_S)
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "tasks_failing"
        assert "doomed" in answer.json()["error"]["message"]
        assert (await client.get("/livez")).status_code == 200
