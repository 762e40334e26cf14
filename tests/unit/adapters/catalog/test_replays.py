"""What is known of an idempotency key, also after a crash and on two servers."""

from veneer_adapters.catalog.database import Database
from veneer_adapters.catalog.replays import KEPT_S, Replay, Replays


async def test_a_key_is_new_once_and_then_has_its_answer(database: Database) -> None:
    replays = Replays(database)
    assert await replays.begin("k", "r") is None
    await replays.finish("k", "201 {}")
    assert await replays.begin("k", "r") == Replay("r", "201 {}")
    assert await Replays(database).begin("k", "other") == Replay("r", "201 {}")


async def test_what_was_begun_and_never_answered_is_not_known(database: Database) -> None:
    assert await Replays(database).begin("k", "r") is None
    found = await Replays(database).begin("k", "r")
    assert found == Replay("r", None)


async def test_what_failed_may_be_tried_again(database: Database) -> None:
    replays = Replays(database)
    await replays.begin("k", "r")
    await replays.forget("k")
    assert await replays.begin("k", "r") is None


async def test_a_key_is_new_again_after_a_day(database: Database) -> None:
    now = [1000.0]
    replays = Replays(database, now=lambda: now[0])
    await replays.begin("k", "r")
    await replays.finish("k", "200 {}")
    now[0] += KEPT_S
    assert await replays.begin("k", "other") is None
