"""A server whose engine never answers, as a program that a test kills."""

import asyncio
import sys
from pathlib import Path

from support.serving import serve_echo
from veneer_server.engine.base import Answer, Call, Endpoint, Frames
from veneer_server.engine.echo import EchoEngine


class HangingEngine(EchoEngine):
    """Begins every response and ends none."""

    async def respond(self, call: Call) -> Answer | Frames:
        if call.endpoint is Endpoint.RESPONSES:
            await asyncio.Event().wait()
        return await super().respond(call)


async def main(folder: Path) -> None:
    """Serve what ``folder`` holds, print where, and never end."""
    async with serve_echo(folder, HangingEngine()) as served:
        print(served.url, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
