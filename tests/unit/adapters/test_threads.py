"""Work that a cancelled caller does not leave half done."""

import asyncio
import threading

from veneer_adapters.threads import in_thread


async def test_a_cancelled_caller_waits_for_the_thread_to_end() -> None:
    began, gate = threading.Event(), threading.Event()
    ended = []

    def work() -> None:
        began.set()
        gate.wait(5)
        ended.append(True)

    task = asyncio.create_task(in_thread(work))
    async with asyncio.timeout(5):
        await asyncio.to_thread(began.wait, 5)
        task.cancel()
        for _ in range(5):
            await asyncio.sleep(0)
        task.cancel()
        for _ in range(5):
            await asyncio.sleep(0)
        assert not task.done()
        gate.set()
        await asyncio.wait([task])
    assert task.cancelled()
    assert ended
