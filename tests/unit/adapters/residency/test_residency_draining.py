"""Stories of pins, of revisions nobody should ask for any more, and of engine restarts."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from support.clock import forward
from support.fake_engine import A, B, C, EngineBroken, Rig, bounded, hold, settle
from veneer_adapters.errors import LoadFailed, NoSlotFree
from veneer_adapters.lifecycle import State


async def test_a_pinned_adapter_stays_until_it_is_unpinned() -> None:
    rig = Rig(device=1, host=2, timeout_s=1)
    async with asyncio.timeout(5):
        await rig.residency.pin(A)
        assert rig.residency.snapshot()[0].pinned
        waiting = asyncio.create_task(rig.use(B))
        await settle()
        forward(1)
        with pytest.raises(NoSlotFree):
            await waiting
        rig.residency.unpin(A)
        await rig.use(B)
    assert rig.host.calls == ["load a", "unload a", "load b"]


async def test_unpinning_serves_who_waits() -> None:
    rig = Rig(device=1, host=2)
    async with bounded() as tasks:
        await rig.residency.pin(A)
        tasks.create_task(rig.use(B))
        await settle()
        rig.residency.unpin(A)


async def test_a_forgotten_adapter_drains_and_then_gives_its_slots_back() -> None:
    rig = Rig()
    async with asyncio.timeout(5):
        async with AsyncExitStack() as leases:
            await leases.enter_async_context(rig.residency.lease(A))
            rig.residency.forget(A)
            await leases.enter_async_context(rig.residency.lease(A))
            await settle()
            assert rig.host.calls == ["load a"]
        await settle()
        assert rig.host.calls == ["load a", "unload a"]
        assert rig.residency.snapshot() == []
        assert rig.residency.state_of(A) is State.READY


async def test_an_idle_adapter_is_forgotten_at_once_even_when_pinned() -> None:
    rig = Rig()
    async with asyncio.timeout(5):
        await rig.residency.pin(A)
        rig.residency.forget(A)
        rig.residency.forget(B)
        await settle()
    assert rig.host.calls == ["load a", "unload a"]


async def test_an_adapter_forgotten_while_it_loads_serves_who_waits_and_leaves() -> None:
    rig = Rig()
    rig.host.held = True
    release = asyncio.Event()
    async with bounded() as tasks:
        waiter = tasks.create_task(hold(rig, A, release))
        await settle()
        rig.residency.forget(A)
        rig.host.held = False
        rig.host.finish()
        await settle()
        assert rig.host.calls == ["load a"]
        release.set()
    assert waiter.result().engine_id == 1
    await settle()
    assert rig.host.calls == ["load a", "unload a"]


async def test_a_place_freed_by_forgetting_goes_to_who_waits() -> None:
    rig = Rig(device=1, host=2)
    async with bounded() as tasks:
        await rig.residency.pin(A)
        tasks.create_task(rig.use(B))
        await settle()
        rig.residency.forget(A)
    assert rig.host.calls == ["load a", "unload a", "load b"]


async def test_after_a_restart_of_the_engine_slots_are_empty_and_ids_are_new() -> None:
    rig = Rig(device=1, host=2)
    async with asyncio.timeout(5):
        async with rig.residency.lease(A):
            waiting = asyncio.create_task(rig.use(B))
            await settle()
            rig.residency.reset(EngineBroken("The engine is gone."))
            rig.host.device.clear()
            rig.host.host.clear()
            with pytest.raises(LoadFailed):
                await waiting
            async with rig.residency.lease(A) as lease:
                assert lease.engine_id == 2
        await settle()
    assert rig.residency.snapshot()[0].leases == 0
    assert rig.host.calls == ["load a", "load a"]


async def test_what_was_in_the_lost_engine_is_named_pinned_first_then_the_last_used() -> None:
    rig = Rig(device=3, host=4)
    async with asyncio.timeout(5):
        for revision in (A, B, C):
            await rig.use(revision)
        await rig.use(A)
        await rig.residency.pin(B)
        held = rig.residency.reset(EngineBroken("The engine is gone."))
    assert held == [B, A, C]
    assert rig.residency.snapshot() == []


async def test_suspects_are_what_loads_and_what_was_just_loaded_and_is_used() -> None:
    rig = Rig(device=3, host=4)
    async with asyncio.timeout(5):
        await rig.use(A)
        async with rig.residency.lease(B):
            assert rig.residency.suspects(within_s=60.0) == [B]
            rig.host.held = True
            loading = asyncio.create_task(rig.use(C))
            await settle()
            assert rig.residency.suspects(within_s=60.0) == [B, C]
            assert rig.residency.suspects(within_s=0.0) == [C]
            rig.host.held = False
            rig.host.finish()
            await loading


async def test_a_restart_during_a_load_tells_who_waits() -> None:
    rig = Rig()
    rig.host.held = True
    async with asyncio.timeout(5):
        waiting = asyncio.create_task(rig.use(A))
        await settle()
        rig.residency.reset(EngineBroken("The engine is gone."))
        with pytest.raises(LoadFailed):
            await waiting


async def test_what_is_recalled_before_it_left_stays() -> None:
    rig = Rig()
    async with asyncio.timeout(5):
        async with rig.residency.lease(A):
            rig.residency.forget(A)
            rig.residency.recall(A)
        rig.residency.recall(B)
        await settle()
        assert rig.host.calls == ["load a"]
