"""How the engine's processes tell the gateway which stage of their start they have reached.

Each process writes a line to a file in the engine's own folder, and the gateway reads it. A line
has a time of the system's monotonic clock, which all processes share, and a stage.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from veneer_server.engine.stages import Stage

FOLDER = "VLLM_RPC_BASE_PATH"
"""Environment variable: the engine's own folder, where vLLM puts its sockets too."""
FILE = "stages"
_PAUSE_S = 0.1


def report(stage: Stage) -> None:
    """Write down that ``stage`` begins now. A start never fails because of this."""
    folder = os.environ.get(FOLDER)
    if folder:
        with suppress(OSError), Path(folder, FILE).open("a", encoding="ascii") as file:
            file.write(f"{time.monotonic()} {stage}\n")


def parse_reports(text: str) -> list[tuple[Stage, float]]:
    """Return the stages of ``text`` and when each began; a line that is not complete is left out.

    Several workers report the same stage; the first one counts.
    """
    found: list[tuple[Stage, float]] = []
    for line in text.splitlines(keepends=True):
        at_s, _, name = line.strip().partition(" ")
        if line.endswith("\n") and name in set(Stage) and (not found or found[-1][0] != name):
            found.append((Stage(name), float(at_s)))
    return found


@asynccontextmanager
async def following(folder: Path, begin: Callable[[Stage, float], None]) -> AsyncIterator[None]:
    """Give ``begin`` each stage that is reported in ``folder``, until the block ends."""
    file, told = folder / FILE, 0

    def tell() -> None:
        nonlocal told
        found = parse_reports(file.read_text(encoding="ascii")) if file.exists() else []
        for stage, at_s in found[told:]:
            begin(stage, at_s)
        told = len(found)

    async def look() -> None:
        while True:
            await asyncio.sleep(_PAUSE_S)
            tell()

    looking = asyncio.create_task(look())
    try:
        yield
        tell()
    finally:
        looking.cancel()
        await asyncio.wait([looking])
