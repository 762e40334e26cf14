"""Looks for an unknown name in the watched folders, when other disks and threads do not answer."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from veneer_adapters.errors import StorageFailed
from veneer_adapters.publishing.arriving import Arriving
from veneer_adapters.sources.base import Root


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What blocked threads wait for; it opens when the test ends."""
    found = threading.Event()
    yield found
    found.set()


async def test_a_look_does_not_wait_behind_other_work_in_threads(
    tmp_path: Path, gate: threading.Event
) -> None:
    others = [asyncio.create_task(asyncio.to_thread(gate.wait)) for _ in range(64)]
    async with asyncio.timeout(5):
        await Arriving([Root(tmp_path)], lambda name: False).arrive("nobody")
    gate.set()
    await asyncio.gather(*others)


async def test_a_disk_that_does_not_answer_ends_the_look(
    tmp_path: Path, gate: threading.Event
) -> None:
    def hangs(_path: Path) -> bool:
        return gate.wait()

    arriving = Arriving([Root(tmp_path)], lambda name: False, longest_s=0.05, is_file=hangs)
    async with asyncio.timeout(5):
        with pytest.raises(StorageFailed, match="watched folders"):
            await arriving.arrive("somebody")
