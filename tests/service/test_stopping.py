"""A server may be told to stop as soon as it says that it is ready."""

import asyncio
import os
import signal
from pathlib import Path

from veneer_server.api.deps import Server
from veneer_server.api.listener import bind
from veneer_server.app import serve
from veneer_server.settings import Settings


async def test_a_stop_asked_for_on_reading_ready_is_obeyed(tmp_path: Path) -> None:
    flags = {
        "adapters": {"dir": tmp_path / "adapters"},
        "state": {"dir": tmp_path / "state"},
        "engine": {"kind": "echo"},
    }
    settings = Settings.load(environ={}, flags=flags)

    def stop(_server: Server, _port: int) -> None:
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
        os.kill(os.getpid(), signal.SIGTERM)

    with bind("127.0.0.1", 0) as listener:
        async with asyncio.timeout(30):
            await serve(settings, listener, stop)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
