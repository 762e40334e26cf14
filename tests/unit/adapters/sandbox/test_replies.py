"""What is known of an idempotency key, also after a crash and on two servers."""

from veneer_adapters.catalog.database import Database
from veneer_adapters.catalog.replays import KEPT_S, Answered, Answers


async def test_a_key_is_new_once_and_then_has_its_answer(database: Database) -> None:
    answers = Answers(database)
    assert await answers.begin("k", "r") is None
    await answers.finish("k", 201, "{}")
    assert await answers.begin("k", "r") == Answered("r", 201, "{}")
    assert await Answers(database).begin("k", "other") == Answered("r", 201, "{}")


async def test_what_was_begun_and_never_answered_is_not_known(database: Database) -> None:
    assert await Answers(database).begin("k", "r") is None
    found = await Answers(database).begin("k", "r")
    assert found is not None
    assert not found.is_known


async def test_what_failed_may_be_tried_again(database: Database) -> None:
    answers = Answers(database)
    await answers.begin("k", "r")
    await answers.forget("k")
    assert await answers.begin("k", "r") is None


async def test_a_key_is_new_again_after_a_day(database: Database) -> None:
    now = [1000.0]
    answers = Answers(database, now=lambda: now[0])
    await answers.begin("k", "r")
    await answers.finish("k", 200, "{}")
    now[0] += KEPT_S
    assert await answers.begin("k", "other") is None
