"""Stories of adapters coming and going while requests hold them."""

import asyncio

import pytest

from support.clock import forward
from support.fake_engine import A, B, C, D, EngineBroken, Rig, bounded, hold, settle
from veneer_adapters.errors import LoadFailed, LoadTimedOut, NoSlotFree
from veneer_adapters.lifecycle import State


async def test_a_cold_adapter_is_loaded_and_a_warm_one_is_not() -> None:
    rig = Rig()
    async with asyncio.timeout(5):
        async with rig.residency.lease(A) as cold:
            pass
        async with rig.residency.lease(A) as warm:
            assert rig.residency.state_of(A) is State.RESIDENT
    assert rig.host.calls == ["load a"]
    assert cold.cold_start_s is not None
    assert warm.cold_start_s is None
    assert cold.engine_id == warm.engine_id
    assert warm.engine_name == A.engine_name


async def test_two_hundred_first_requests_share_one_load() -> None:
    rig = Rig()
    rig.host.held = True
    release = asyncio.Event()
    async with bounded() as tasks:
        holders = [tasks.create_task(hold(rig, A, release)) for _ in range(200)]
        await settle()
        assert rig.host.calls == ["load a"]
        rig.host.finish()
        await settle()
        assert rig.residency.snapshot()[0].leases == 200
        release.set()
    assert len({task.result().engine_id for task in holders}) == 1
    assert rig.residency.snapshot()[0].leases == 0


async def test_loads_of_different_adapters_overlap() -> None:
    rig = Rig()
    rig.host.held = True
    release = asyncio.Event()
    async with bounded() as tasks:
        for revision in (A, B):
            tasks.create_task(hold(rig, revision, release))
        await settle()
        assert [call for call, _ in rig.host.pending] == ["load a", "load b"]
        rig.host.finish()
        rig.host.finish()
        release.set()


async def test_a_client_that_hangs_up_does_not_cancel_the_load_others_await() -> None:
    rig = Rig()
    rig.host.held = True
    release = asyncio.Event()
    async with bounded() as tasks:
        first = asyncio.create_task(hold(rig, A, release))
        await settle()
        second = tasks.create_task(hold(rig, A, release))
        await settle()
        first.cancel()
        await settle()
        rig.host.finish()
        release.set()
    assert first.cancelled()
    assert second.result().engine_id == 1
    assert rig.host.calls == ["load a"]


async def test_a_load_nobody_waits_for_any_more_is_finished_and_kept() -> None:
    rig = Rig()
    rig.host.held = True
    async with asyncio.timeout(5):
        alone = asyncio.create_task(hold(rig, A, asyncio.Event()))
        await settle()
        alone.cancel()
        await settle()
        rig.host.finish()
        await settle()
        assert rig.levels() == {"a": "device"}


async def test_the_longest_idle_gives_up_its_device_slot_before_the_newcomer_loads() -> None:
    rig = Rig()
    async with asyncio.timeout(5):
        await rig.use(A, B, A, C)
    assert rig.host.calls == ["load a", "load b", "deactivate b", "load c"]
    assert rig.levels() == {"a": "device", "b": "host", "c": "device"}


async def test_a_host_copy_is_activated_not_read_again() -> None:
    rig = Rig()
    async with asyncio.timeout(5):
        await rig.use(A, B, C, A)
    assert rig.host.calls[3:] == ["load c", "deactivate b", "activate a"]


async def test_when_the_host_is_full_the_longest_idle_leaves_altogether() -> None:
    rig = Rig()
    async with asyncio.timeout(5):
        await rig.use(A, B, C, D)
    assert rig.host.calls[4:] == ["unload a", "deactivate b", "load d"]
    assert rig.levels() == {"b": "host", "c": "device", "d": "device"}


async def test_with_as_many_host_slots_as_device_slots_one_stays_empty() -> None:
    rig = Rig(device=2, host=2)
    async with asyncio.timeout(5):
        await rig.use(A, B)
    assert rig.host.calls == ["load a", "unload a", "load b"]


def test_too_few_slots_are_refused() -> None:
    with pytest.raises(ValueError, match="host_slots"):
        Rig(device=1, host=1)


async def test_a_leased_adapter_is_never_evicted_and_waiters_are_served_in_order() -> None:
    rig = Rig(device=1, host=2)
    release = [asyncio.Event() for _ in range(3)]
    async with bounded() as tasks:
        tasks.create_task(hold(rig, A, release[0]))
        await settle()
        tasks.create_task(hold(rig, B, release[1]))
        await settle()
        tasks.create_task(hold(rig, C, release[2]))
        await settle()
        assert rig.host.calls == ["load a"]
        release[0].set()
        await settle()
        assert rig.host.calls == ["load a", "unload a", "load b"]
        release[1].set()
        await settle()
        assert rig.host.calls[3:] == ["unload b", "load c"]
        release[2].set()


async def test_a_warm_adapter_does_not_queue_behind_cold_ones() -> None:
    rig = Rig(device=1, host=2)
    release = asyncio.Event()
    async with bounded() as tasks:
        tasks.create_task(hold(rig, A, release))
        await settle()
        tasks.create_task(hold(rig, B, release))
        await settle()
        async with rig.residency.lease(A) as lease:
            assert lease.cold_start_s is None
        release.set()


async def test_when_every_slot_stays_leased_the_waiter_is_told_and_forgotten() -> None:
    rig = Rig(device=1, host=2, timeout_s=1)
    async with asyncio.timeout(5), rig.residency.lease(A):
        waiting = asyncio.create_task(rig.use(B))
        await settle()
        forward(1)
        with pytest.raises(NoSlotFree):
            await waiting
        assert rig.residency.state_of(B) is State.READY
    await settle()
    assert rig.host.calls == ["load a"]


async def test_a_load_that_takes_too_long_times_out_and_still_lands() -> None:
    rig = Rig(timeout_s=1)
    rig.host.held = True
    async with asyncio.timeout(5):
        waiting = asyncio.create_task(rig.use(A))
        await settle()
        forward(1)
        with pytest.raises(LoadTimedOut):
            await waiting
        rig.host.finish()
        await settle()
        async with rig.residency.lease(A) as lease:
            assert lease.cold_start_s is None


async def test_a_failed_load_reaches_every_waiter_and_leaves_no_trace() -> None:
    rig = Rig()
    rig.host.broken = {"load a"}
    async with asyncio.timeout(5):
        waiters = [asyncio.create_task(hold(rig, A, asyncio.Event())) for _ in range(3)]
        failures = await asyncio.gather(*waiters, return_exceptions=True)
        assert [type(f) for f in failures] == [LoadFailed] * 3
        assert all(isinstance(f, LoadFailed) and f.__cause__ is not None for f in failures)
        assert rig.host.calls == ["load a", "unload a"]
        assert rig.host.host == set()
        assert rig.residency.snapshot() == []
        rig.host.broken.clear()
        async with rig.residency.lease(A) as lease:
            assert lease.engine_id == 2


async def test_a_failed_activation_frees_both_slots() -> None:
    rig = Rig()
    async with asyncio.timeout(5):
        await rig.use(A, B, C)
        rig.host.broken = {"activate a"}
        with pytest.raises(LoadFailed):
            await rig.use(A)
        rig.host.broken.clear()
        await rig.use(A)
    assert rig.host.calls[-3:] == ["activate a", "unload a", "load a"]


async def test_a_place_that_could_not_be_freed_is_not_given_away() -> None:
    rig = Rig(device=1, host=2)
    async with asyncio.timeout(5):
        await rig.use(A)
        rig.host.broken = {"unload a"}
        with pytest.raises(LoadFailed):
            await rig.use(B)
        assert rig.host.calls == ["load a", "unload a"]
        rig.host.broken.clear()
        await rig.use(A)
    assert rig.host.calls[2:] == ["unload a", "load a"]


async def test_a_place_that_could_not_be_cleaned_is_cleaned_before_it_is_used() -> None:
    rig = Rig(device=1, host=2)
    rig.host.broken = {"load a", "unload a"}
    async with asyncio.timeout(5):
        with pytest.raises(LoadFailed):
            await rig.use(A)
        rig.host.broken.clear()
        await rig.use(B)
    assert rig.host.calls == ["load a", "unload a", "unload a", "load b"]


async def test_a_deactivation_that_fails_fails_those_who_waited_for_either() -> None:
    rig = Rig(device=1, host=4)
    rig.host.broken = {"deactivate a"}
    async with asyncio.timeout(5):
        await rig.use(A)
        rig.host.held = True
        newcomer = asyncio.create_task(rig.use(B))
        await settle()
        returning = asyncio.create_task(rig.use(A))
        await settle()
        rig.host.held = False
        rig.host.finish()
        results = await asyncio.gather(newcomer, returning, return_exceptions=True)
        assert [type(r) for r in results] == [LoadFailed, LoadFailed]
        await rig.use(B)
    assert rig.host.calls == ["load a", "deactivate a", "unload a", "load b"]


async def test_who_was_to_leave_next_stays_when_the_first_did_not_leave() -> None:
    rig = Rig()
    rig.host.broken = {"unload a"}
    async with asyncio.timeout(5):
        await rig.use(A, B, C)
        with pytest.raises(LoadFailed):
            await rig.use(D)
        assert rig.levels() == {"b": "device", "c": "device"}
        rig.host.broken.clear()
        await rig.use(B, D)
    assert rig.host.calls[-3:] == ["unload a", "deactivate c", "load d"]


async def test_who_asks_for_an_adapter_that_is_just_leaving_its_slot_gets_it_back() -> None:
    rig = Rig(device=1, host=4)
    release = asyncio.Event()
    async with bounded() as tasks:
        await rig.use(A)
        rig.host.held = True
        tasks.create_task(rig.use(B))
        await settle()
        back = tasks.create_task(hold(rig, A, release))
        await settle()
        rig.host.held = False
        rig.host.finish()
        await settle()
        release.set()
    assert back.result().engine_id == 1
    assert rig.host.calls == ["load a", "deactivate a", "load b", "deactivate b", "activate a"]


async def test_who_asks_for_an_adapter_that_is_being_unloaded_gets_a_new_one() -> None:
    rig = Rig(device=1, host=2)
    release = asyncio.Event()
    async with bounded() as tasks:
        await rig.use(A)
        rig.host.held = True
        tasks.create_task(rig.use(B))
        await settle()
        back = tasks.create_task(hold(rig, A, release))
        await settle()
        rig.host.held = False
        rig.host.finish()
        release.set()
    assert back.result().engine_id == 3
    assert rig.host.calls == ["load a", "unload a", "load b", "unload b", "load a"]


async def test_everything_worth_counting_is_told() -> None:
    rig = Rig(device=1, host=3)
    rig.host.broken = {"load c"}
    async with asyncio.timeout(5):
        await rig.use(A, B, A)
        rig.residency.forget(A)
        await settle()
        with pytest.raises(LoadFailed):
            await rig.use(C)
    assert rig.recorder.events == [
        ("StageFinished", "a", "load"),
        ("LoadFinished", "a", "disk", "loaded"),
        ("ColdStart", "a"),
        ("Evicted", "a", "device", "room"),
        ("StageFinished", "b", "load"),
        ("LoadFinished", "b", "disk", "loaded"),
        ("ColdStart", "b"),
        ("Evicted", "b", "device", "room"),
        ("StageFinished", "a", "activate"),
        ("LoadFinished", "a", "host", "loaded"),
        ("ColdStart", "a"),
        ("Evicted", "a", "host", "forgotten"),
        ("StageFinished", "c", "load"),
        ("LoadFinished", "c", "disk", "failed"),
        ("Evicted", "c", "host", "load_failed"),
    ]


async def test_what_the_block_raises_ends_the_lease_and_nothing_else() -> None:
    rig = Rig()
    async with asyncio.timeout(5):
        with pytest.raises(EngineBroken):
            async with rig.residency.lease(A):
                raise EngineBroken
    assert rig.residency.snapshot()[0].leases == 0
