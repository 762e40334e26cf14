"""Stories of adapters that are in use all the time, and of those that wait for their slots."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from support.clock import forward
from support.fake_engine import A, B, C, EngineBroken, Rig, settle
from veneer_adapters.catalog.revision import Revision
from veneer_adapters.errors import LoadFailed, NoSlotFree
from veneer_adapters.lifecycle import State
from veneer_adapters.residency.slots import TURN_LOADS


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Client:
    """One request: it waits for its lease, and holds it until told to end."""

    def __init__(self, rig: Rig, revision: Revision) -> None:
        self.is_served = False
        self.end = asyncio.Event()
        self.task = asyncio.create_task(self._run(rig, revision))

    async def _run(self, rig: Rig, revision: Revision) -> None:
        async with rig.residency.lease(revision):
            self.is_served = True
            await self.end.wait()
        self.is_served = False


Ask = Callable[[Revision], Awaitable[Client]]


@asynccontextmanager
async def asking(rig: Rig) -> AsyncIterator[Ask]:
    """Give what sends requests; they end with the block."""
    clients: list[Client] = []

    async def ask(revision: Revision) -> Client:
        clients.append(Client(rig, revision))
        await settle()
        return clients[-1]

    async with asyncio.timeout(5):
        yield ask
        for client in clients:
            client.end.set()
        await asyncio.gather(*(client.task for client in clients), return_exceptions=True)


async def end(client: Client) -> None:
    client.end.set()
    await settle()


async def test_an_adapter_that_is_in_use_all_the_time_lets_another_in() -> None:
    rig = Rig(device=1, host=3, clock=Clock())
    async with asking(rig) as ask:
        first = await ask(A)
        cold = await ask(B)
        newcomer = await ask(A)
        assert (first.is_served, cold.is_served, newcomer.is_served) == (True, False, False)
        await end(first)
        assert (cold.is_served, newcomer.is_served) == (True, False)
        await end(cold)
        assert newcomer.is_served
    assert rig.host.calls == ["load a", "deactivate a", "load b", "deactivate b", "activate a"]


async def test_two_that_are_always_in_use_take_turns() -> None:
    rig = Rig(device=1, host=3, clock=Clock())
    served = []
    async with asking(rig) as ask:
        using = {revision: [await ask(revision)] for revision in (A, B)}
        for _ in range(6):
            for revision, clients in using.items():
                clients.append(await ask(revision))
            for revision, clients in using.items():
                if clients[0].is_served:
                    served.append(revision)
                    await end(clients.pop(0))
    assert served.count(A) >= 2
    assert served.count(B) >= 2


async def test_an_adapter_keeps_its_slot_for_ten_times_as_long_as_its_load_took() -> None:
    clock = Clock()
    rig = Rig(device=1, host=3, clock=clock)
    rig.host.held = True
    async with asking(rig) as ask:
        first = await ask(A)
        clock.now_s += 1.0
        rig.host.finish()
        await settle()
        rig.host.held = False
        cold = await ask(B)
        clock.now_s += TURN_LOADS - 1
        assert (await ask(A)).is_served, "its turn is not over yet"
        clock.now_s += 1
        late = await ask(A)
        assert (late.is_served, cold.is_served) == (False, False)
        assert first.is_served


async def test_who_came_meanwhile_is_served_at_once_when_the_waiter_gives_up() -> None:
    rig = Rig(device=1, host=3, clock=Clock())
    async with asking(rig) as ask:
        await ask(A)
        cold = await ask(B)
        newcomer = await ask(A)
        cold.task.cancel()
        await settle()
        assert newcomer.is_served
    assert rig.host.calls == ["load a"]


async def test_who_came_meanwhile_may_give_up_too() -> None:
    rig = Rig(device=1, host=3, clock=Clock())
    async with asking(rig) as ask:
        first = await ask(A)
        await ask(B)
        newcomer = await ask(A)
        newcomer.task.cancel()
        await end(first)
        assert rig.residency.state_of(A) is State.RESIDENT
        assert [r.adapter for r in rig.residency.snapshot() if r.leases] == ["b"]


async def test_only_as_many_adapters_yield_as_others_wait() -> None:
    rig = Rig(device=2, host=4, clock=Clock())
    async with asking(rig) as ask:
        await ask(A)
        await ask(B)
        await ask(C)
        newcomers = [await ask(A), await ask(B)]
        assert [client.is_served for client in newcomers] == [False, True], "the oldest yields"


async def test_a_pinned_adapter_never_yields() -> None:
    rig = Rig(device=2, host=4, clock=Clock())
    async with asking(rig) as ask:
        await rig.residency.pin(A)
        await ask(A)
        b = await ask(B)
        cold = await ask(C)
        assert (await ask(A)).is_served
        await end(b)
        assert cold.is_served


async def test_an_adapter_that_is_pinned_while_it_yields_stays() -> None:
    rig = Rig(device=1, host=3, clock=Clock())
    rig.host.held = True
    async with asking(rig) as ask:
        pinning = asyncio.create_task(rig.residency.pin(A))
        await settle()
        rig.host.finish()
        cold = await ask(B)  # it makes A yield before the pin is set
        await pinning
        assert (await ask(A)).is_served
        cold.task.cancel()
    rig.residency.unpin(A)


async def test_who_came_meanwhile_gets_a_new_copy_when_there_is_no_room_for_the_old_one() -> None:
    rig = Rig(device=1, host=2, clock=Clock())
    async with asking(rig) as ask:
        first = await ask(A)
        cold = await ask(B)
        newcomer = await ask(A)
        await end(first)
        assert cold.is_served
        await end(cold)
        assert newcomer.is_served
    assert rig.host.calls == ["load a", "unload a", "load b", "unload b", "load a"]


async def test_who_came_meanwhile_hears_that_the_engine_is_gone() -> None:
    rig = Rig(device=1, host=3, clock=Clock())
    async with asking(rig) as ask:
        await ask(A)
        await ask(B)
        newcomer = await ask(A)
        rig.residency.reset(EngineBroken("by the test"))
        with pytest.raises(LoadFailed):
            await newcomer.task


async def test_who_came_meanwhile_waits_no_longer_than_everybody() -> None:
    rig = Rig(device=1, host=3, timeout_s=1, clock=Clock())
    async with asking(rig) as ask:
        await ask(A)
        await ask(B)
        newcomer = await ask(A)
        assert rig.residency.waiting() == [A.engine_name, B.engine_name]
        forward(1)
        with pytest.raises(NoSlotFree):
            await newcomer.task
