"""The store in memory, by the story that every store must tell alike."""

from support.quotas import Clock, demand, tell_all
from veneer_server.tenancy.quotas.demands import Kind
from veneer_server.tenancy.quotas.memory import MemoryStore


async def test_the_story_of_every_store() -> None:
    clock = Clock()
    told = await tell_all(MemoryStore(clock), clock)
    admitted = [answer.admitted for answer in told]
    assert admitted == [
        *(True, False, True),
        *(False, True),
        True,
        *(False, False, True),
        *(True, True, False, True, True),
        *(True, False),
    ]
    left = [[standing.remaining for standing in answer.standings] for answer in told]
    assert left[:6] == [[2, 30], [2, 30], [1, 0], [50], [0], [0, 2]]


async def test_limits_that_are_full_again_are_as_those_nobody_used() -> None:
    clock = Clock()
    store = MemoryStore(clock)
    await store.take([demand(Kind.TOKENS, 100, 100)], "1")
    clock.forward(60)
    [standing] = (await store.take([demand(Kind.TOKENS, 100, 0)], "2")).standings
    assert (standing.remaining, standing.full_us) == (100, 0)
