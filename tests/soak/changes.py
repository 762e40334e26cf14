"""Who moves aliases while the clients ask, and knows at any time where they may point."""

import asyncio
import random
import time

import httpx

from soak.world import World
from support.serving import POLL_S
from support.swapping import Pointer

_EVERY_S = 2.0
_BACK_S = 240.0


class Changes:
    """Moves ``live`` of one adapter after the other to its other revision, or back."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._random = random.Random(seed)  # noqa: S311 - repeatable on purpose
        self.pointers = {name: Pointer() for name in world.names}
        self.violations: list[str] = []
        self.moved = self.refused = 0
        now = time.monotonic()
        for pointer in self.pointers.values():
            pointer.moved(2, now, now)

    async def run(self, stopping: asyncio.Event) -> None:
        """Change something every two seconds until ``stopping`` is set."""
        async with httpx.AsyncClient(base_url=self._world.url, timeout=60) as client:
            while not stopping.is_set():
                await self._move(client, self._random.choice(self._world.names))
                await asyncio.wait({asyncio.ensure_future(stopping.wait())}, timeout=_EVERY_S)

    async def _move(self, client: httpx.AsyncClient, name: str) -> None:
        old = self.pointers[name].revisions[-1]
        new, sent_s = 3 - old, time.monotonic()
        try:
            if await self._ask(client, name, new):
                self.moved += 1
                self.pointers[name].moved(new, sent_s, time.monotonic())
                return
        except httpx.TransportError:
            pass  # nobody knows whether it took effect: look
        self.refused += 1
        found = await self._look(client, name)
        if found not in (old, new):
            self.violations.append(f"{name} points to {found} after a move from {old} to {new}")
        self.pointers[name].moved(found, sent_s, time.monotonic())

    async def _ask(self, client: httpx.AsyncClient, name: str, revision: int) -> bool:
        path = f"/v1/adapters/{name}"
        if self._random.random() < 0.3:
            answer = await client.post(f"{path}/rollback", json={})
        else:
            body = {"targets": [{"revision": revision}]}
            answer = await client.put(f"{path}/aliases/live", json=body)
        return answer.is_success

    async def _look(self, client: httpx.AsyncClient, name: str) -> int:
        async with asyncio.timeout(_BACK_S):
            while True:
                try:
                    answer = await client.get(f"/v1/adapters/{name}/aliases/live")
                    if answer.is_success:
                        return int(answer.json()["targets"][0]["revision"])
                except httpx.TransportError:
                    pass
                await asyncio.sleep(POLL_S)
