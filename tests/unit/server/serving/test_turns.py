"""How requests wait for a place among the sequences and for their adapter's slot."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from support.fake_engine import settle
from veneer_adapters.errors import LoadFailed
from veneer_server.serving.admission import Admission, Overloaded
from veneer_server.serving.fairness import Ask


class Slots:
    """Which adapters are in slots, and who asks for one that is not."""

    def __init__(self) -> None:
        self.open: set[str] = set()
        self.asked: list[str] = []
        self.loaded = asyncio.Event()
        self.fails = False

    async def lease(self, flow: str) -> None:
        if flow not in self.open:
            self.asked.append(flow)
            await self.loaded.wait()
            if self.fails:
                raise LoadFailed(flow)
            self.open.add(flow)


class Client:
    def __init__(self, admission: Admission, slots: Slots, ask: Ask) -> None:
        self.state = "waits"
        self.end = asyncio.Event()
        self.cold_start_s: float | None = None
        self.task = asyncio.create_task(self._run(admission, slots, ask))

    async def _run(self, admission: Admission, slots: Slots, ask: Ask) -> None:
        try:
            with admission.place(ask) as place:
                await place.turn()
                self.cold_start_s = place.cold_start_s
                if ask.flow:
                    self.state = "fetches"
                    await slots.lease(ask.flow)
                self.state = "holds a slot"
                await place.seat()
                self.state = "runs"
                await self.end.wait()
            self.state = "done"
        except (LoadFailed, TimeoutError):
            self.state = "failed"


Come = Callable[[Ask], Awaitable[Client]]


@asynccontextmanager
async def coming(admission: Admission, slots: Slots) -> AsyncIterator[Come]:
    clients: list[Client] = []

    async def come(ask: Ask) -> Client:
        clients.append(Client(admission, slots, ask))
        await settle()
        return clients[-1]

    async with asyncio.timeout(5):
        yield come
        for client in clients:
            client.end.set()
        slots.loaded.set()
        await asyncio.gather(*(client.task for client in clients), return_exceptions=True)
    assert admission._seated == 0
    assert not admission._places


def states(clients: list[Client]) -> list[str]:
    return [client.state for client in clients]


async def test_one_of_many_asks_for_a_cold_adapter_and_the_others_hold_nothing() -> None:
    slots = Slots()
    admission = Admission(8, 100, is_open=slots.open.__contains__, most_fetching=2)
    async with coming(admission, slots) as come:
        cold = [await come(Ask(flow="cold")) for _ in range(3)]
        assert states(cold) == ["fetches", "waits", "waits"]
        slots.loaded.set()
        await settle()
        assert states(cold) == ["runs", "runs", "runs"]
        assert slots.asked == ["cold"]
        assert cold[1].cold_start_s is not None, "it waited for the load too"


async def test_a_cold_adapter_takes_no_place_from_a_warm_one_while_it_loads() -> None:
    slots = Slots()
    slots.open.add("warm")
    admission = Admission(1, 100, is_open=slots.open.__contains__)
    async with coming(admission, slots) as come:
        cold = await come(Ask(flow="cold"))
        warm = await come(Ask(flow="warm"))
        assert states([cold, warm]) == ["fetches", "runs"]
        slots.loaded.set()
        await settle()
        assert cold.state == "holds a slot"
        warm.end.set()
        await settle()
        assert cold.state == "runs"


async def test_a_queue_before_an_adapter_that_yields_holds_no_slot() -> None:
    slots = Slots()
    slots.open.add("hot")
    admission = Admission(1, 100, is_open=slots.open.__contains__)
    async with coming(admission, slots) as come:
        running = await come(Ask(flow="hot"))
        queue = [await come(Ask(flow="hot")) for _ in range(3)]
        slots.open.clear()  # it yields
        running.end.set()
        await settle()
        assert states(queue) == ["fetches", "waits", "waits"]


async def test_only_so_many_adapters_are_asked_for_at_a_time() -> None:
    slots = Slots()
    admission = Admission(8, 100, is_open=slots.open.__contains__, most_fetching=2)
    async with coming(admission, slots) as come:
        clients = [await come(Ask(flow=name)) for name in "abc"]
        assert states(clients) == ["fetches", "fetches", "waits"]
        clients[0].task.cancel()
        await settle()
        assert clients[2].state == "fetches"


async def test_when_a_load_fails_everybody_who_waits_for_it_hears_why() -> None:
    slots = Slots()
    slots.fails = True
    admission = Admission(8, 100, is_open=slots.open.__contains__)
    async with coming(admission, slots) as come:
        clients = [await come(Ask(flow="bad")) for _ in range(3)]
        slots.loaded.set()
        await settle()
        assert states(clients) == ["failed", "failed", "failed"]


async def test_when_who_asks_for_an_adapter_waits_no_longer_only_the_next_one_asks() -> None:
    slots = Slots()
    admission = Admission(8, 100, is_open=slots.open.__contains__)

    late = asyncio.Event()

    async def impatient() -> None:
        with admission.place(Ask(flow="cold")) as place:
            await place.turn()
            await late.wait()
            raise TimeoutError

    async with coming(admission, slots) as come:
        waiting = asyncio.create_task(impatient())
        await settle()
        others = [await come(Ask(flow="cold")) for _ in range(3)]
        assert states(others) == ["waits", "waits", "waits"]
        late.set()
        with pytest.raises(TimeoutError):
            await waiting
        await settle()
        assert states(others) == ["fetches", "waits", "waits"]


async def test_when_who_asks_for_an_adapter_hangs_up_the_next_one_asks() -> None:
    slots = Slots()
    admission = Admission(8, 100, is_open=slots.open.__contains__)
    async with coming(admission, slots) as come:
        first, second = await come(Ask(flow="cold")), await come(Ask(flow="cold"))
        first.task.cancel()
        await settle()
        assert second.state == "fetches"


async def test_who_hangs_up_in_the_queue_leaves_it() -> None:
    slots = Slots()
    admission = Admission(1, 1, is_open=slots.open.__contains__)
    async with coming(admission, slots) as come:
        await come(Ask())
        waiting = await come(Ask())
        waiting.task.cancel()
        await settle()
        assert (await come(Ask())).state == "waits", "there is room again"


async def test_the_engines_own_queue_gets_one_for_each_eight() -> None:
    slots = Slots()
    admission = Admission(16, 100)
    async with coming(admission, slots) as come:
        clients = [await come(Ask()) for _ in range(20)]
        assert states(clients).count("runs") == 18


async def test_a_full_queue_still_has_room_for_a_tenant_with_less_than_its_share() -> None:
    slots = Slots()
    admission = Admission(1, 4)
    async with coming(admission, slots) as come:
        for _ in range(5):
            await come(Ask("many"))
        with pytest.raises(Overloaded), admission.place(Ask("many")):
            raise NotImplementedError
        few = [await come(Ask("few")) for _ in range(2)]
        assert states(few) == ["waits", "waits"]
        with pytest.raises(Overloaded), admission.place(Ask("few")):
            raise NotImplementedError
