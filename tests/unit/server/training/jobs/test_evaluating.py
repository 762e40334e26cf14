"""A job's last checkpoint is measured beside what it would replace, and is promoted or not."""

import asyncio
import csv
import io
import math
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from support import builders
from support.fine_tuning import Bench, bench
from support.serving import POLL_S
from support.training_rows import numbered, preferences
from veneer_adapters.errors import NoEffect
from veneer_adapters.sandbox.sandbox import Sandbox
from veneer_server.training.evaluating.asked import Evaluation, Grader, Then
from veneer_server.training.jobs.records import FineTuningJob, Status
from veneer_server.training.jobs.working.graders import PythonGraders
from veneer_server.training.rows.rows import Method


@pytest_asyncio.fixture
async def made(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench(tmp_path / "catalog.db", tmp_path) as found:
        yield found


async def trained(made: Bench, then: Then = Then.LIVE, **more: Any) -> FineTuningJob:
    asked = Evaluation(publish_to="pirate", then=then, **more)
    job = await made.create(n_epochs=1, evaluation=asked)
    async with made.running():
        done = await made.ended(job)
    assert done.status is Status.SUCCEEDED
    return done


async def test_a_better_model_is_promoted_and_everybody_can_see_by_how_much(made: Bench) -> None:
    made.models.losses["pirate@3"] = 1.5
    made.publisher.lives["pirate"] = 3
    done = await trained(made)
    assert made.publisher.promoted == [("step-8", "pirate", Then.LIVE)]
    found = done.progress.evaluation
    assert found is not None
    losses = {name: found[name]["loss"] for name in ("base", "live", "candidate")}
    assert losses == {"base": 2.0, "live": 1.5, "candidate": 1.0}
    assert found["candidate"]["model"].endswith(":ckpt-step-8")
    assert (found["examples"], found["better"]) == (8, True)
    [checkpoint] = await made.jobs.published(done.id)
    assert checkpoint.metrics["full_valid_loss"] == 1.0
    assert checkpoint.metrics["valid_loss"] == 2 / 8, "what the trainer saw stays beside it"
    page = await made.jobs.events("me", done.id, after=None, limit=20)
    told = {event.message.split(",")[0]: event for event in page.items}
    assert told["Held-out loss"].data["evaluation"] == found
    assert "Published as pirate" in told
    assert done.result_file is not None
    with await made.files.open(await made.files.find("me", done.result_file)) as content:
        last = list(csv.DictReader(io.StringIO(content.read().decode())))[-1]
    assert (last["step"], last["full_valid_loss"]) == ("8", "1.0")
    assert (last["base_full_valid_loss"], last["live_full_valid_loss"]) == ("2.0", "1.5")


async def preferring(made: Bench, **asked: Any) -> FineTuningJob:
    file = await made.upload(preferences(40))
    evaluation = Evaluation(publish_to="pirate", then=Then.LIVE, graders=("contains",))
    asked = {"training_file": file, "n_epochs": 1, "method": Method.DPO, **asked}
    job = await made.create(evaluation=evaluation, **asked)
    async with made.running():
        return await made.ended(job)


async def test_a_model_of_preferences_is_better_when_it_tells_pairs_apart(made: Bench) -> None:
    # "good" has a token more than "bad": with 2 nats a token the base finds it 2 less likely.
    made.models.answers = {"ft:": "good"}
    made.publisher.lives["pirate"] = 3
    made.models.losses["pirate@3"] = 2.5
    done = await preferring(made, beta=0.2)
    found = done.progress.evaluation
    assert found is not None
    assert (found["method"], found["examples"], found["better"]) == ("dpo", 8, True)
    losses = {name: found[name]["loss"] for name in ("base", "live", "candidate")}
    margins = {"base": 0.0, "live": 0.2 * (2 - 2.5), "candidate": 0.2 * (2 - 1)}
    assert losses == pytest.approx({k: math.log(1 + math.exp(-m)) for k, m in margins.items()})
    right = {name: found[name]["accuracy"] for name in losses}
    assert right == {"base": 0.5, "live": 0.0, "candidate": 1.0}
    assert found["candidate"]["grades"] == {"contains": 1.0}, "the preferred answer is wanted"
    assert made.publisher.promoted == [("step-8", "pirate", Then.LIVE)]
    [checkpoint] = await made.jobs.published(done.id)
    assert "full_valid_mean_token_accuracy" not in checkpoint.metrics


def known(made: Bench) -> str:
    """Let there be an adapter to go on from; return what it is in the recipe."""
    facts = replace(builders.MANIFEST, base_name=None)
    made.starts.known["sailor"] = replace(builders.revision("sailor", number=2), manifest=facts)
    return "sailor@2"


async def test_what_a_job_went_on_from_is_measured_too_and_must_be_beaten(made: Bench) -> None:
    origin = known(made)
    made.models.losses |= {origin: 0.9, "ft:": 1.0}
    asked = Evaluation(publish_to="pirate", then=Then.LIVE)
    job = await made.create(model="sailor", n_epochs=1, evaluation=asked)
    assert (made.jobs.folders.of(job.id) / "start" / "of").read_text() == "1" * 64
    async with made.running():
        done = await made.ended(job)
    found = done.progress.evaluation
    assert found is not None
    assert (found["start"]["model"], found["start"]["loss"]) == (origin, pytest.approx(0.9))
    assert (found["better"], made.publisher.promoted) == (False, [])
    assert "is not lower than the 0.900 of what it went on from" in found["why"]
    told = await made.told(done)
    assert f"Going on from sailor@2 (sha256:{'1' * 64})" in told
    assert any("base 2.000, start 0.900, candidate 1.000" in one for one in told)
    assert done.result_file is not None
    with await made.files.open(await made.files.find("me", done.result_file)) as content:
        last = list(csv.DictReader(io.StringIO(content.read().decode())))[-1]
    assert float(last["start_full_valid_loss"]) == pytest.approx(0.9)


async def test_what_is_live_and_was_gone_on_from_is_measured_once(made: Bench) -> None:
    origin = known(made)
    made.publisher.lives["sailor"] = 2
    made.models.losses |= {origin: 1.5, "ft:": 1.0}
    asked = Evaluation(publish_to="sailor", then=Then.LIVE)
    job = await made.create(model="sailor", n_epochs=1, evaluation=asked)
    async with made.running():
        done = await made.ended(job)
    found = done.progress.evaluation
    assert found is not None
    assert found["start"] == found["live"]
    assert found["why"] == "It is better than the base and what is live."
    assert made.models.asked.count(origin) == found["examples"]


async def test_preferences_have_what_was_gone_on_from_as_their_reference(made: Bench) -> None:
    origin = known(made)
    made.models.losses |= {origin: 1.5, "ft:": 1.0}
    done = await preferring(made, model="sailor", beta=0.2)
    found = done.progress.evaluation
    assert found is not None
    margins = {"base": 0.2 * (1.5 - 2), "start": 0.0, "candidate": 0.2 * (1.5 - 1)}
    losses = {name: found[name]["loss"] for name in margins}
    assert losses == pytest.approx({k: math.log(1 + math.exp(-m)) for k, m in margins.items()})


async def test_a_model_of_preferences_that_tells_nothing_apart_is_not_better(made: Bench) -> None:
    made.models.losses = {"": 2.0}
    made.evaluated_rows = 3
    done = await preferring(made)
    found = done.progress.evaluation
    assert found is not None
    assert (found["examples"], found["better"], found["candidate"]["accuracy"]) == (3, False, 0.5)
    assert "is not lower than the 0.693 of the base" in found["why"]
    assert made.publisher.promoted == []


@pytest.mark.parametrize("losses", [{"pirate@3": 0.5}, {"echo": 1.0}])
async def test_a_model_that_is_not_better_succeeds_and_says_that_it_was_not_promoted(
    made: Bench, losses: dict[str, float]
) -> None:
    made.models.losses = {"echo": 2.0} | losses
    made.publisher.lives["pirate"] = 3
    done = await trained(made)
    assert done.fine_tuned_model is not None
    assert (made.publisher.promoted, made.publisher.made_live) == ([], [1])
    told = await made.told(done)
    assert "Not published to pirate, because it is not better" in told
    assert any("is not lower than" in one for one in told)


async def test_a_model_that_cannot_be_measured_succeeds_and_is_not_promoted(made: Bench) -> None:
    made.models.silent = "The engine is not running."
    done = await trained(made)
    told = await made.told(done)
    assert "The model was not evaluated: The engine is not running." in told
    assert "Not published to pirate, because it could not be measured" in told
    assert (done.progress.evaluation, made.publisher.promoted) == (None, [])


async def test_a_promotion_that_fails_is_told_and_the_job_succeeds(made: Bench) -> None:
    job = await made.create(n_epochs=1, evaluation=Evaluation(publish_to="x", then=Then.LIVE))
    made.models.held = asyncio.Event()
    async with made.running():
        async with asyncio.timeout(30):
            while not made.models.asked:
                await asyncio.sleep(POLL_S)
        made.publisher.fails.append(NoEffect("It changes nothing."))
        made.models.held.set()
        done = await made.ended(job)
    assert done.status is Status.SUCCEEDED
    assert "Not published to x: It changes nothing." in await made.told(job)


async def test_answers_are_graded_too(made: Bench) -> None:
    made.models.answers = {"ft:": "nothing"}
    done = await trained(made, graders=("contains",))
    found = done.progress.evaluation
    assert found is not None
    assert found["candidate"]["grades"] == {"contains": 0.0}
    assert found["better"] is True, "no grader likes what the base says more"


async def test_nothing_is_measured_where_the_server_is_set_so(made: Bench) -> None:
    made.evaluated_rows = 0
    done = await trained(made)
    assert made.models.asked == []
    told = await made.told(done)
    assert "The model was not evaluated: There are no rows to measure with." in told


async def test_at_most_so_many_rows_are_measured(made: Bench) -> None:
    made.evaluated_rows = 3
    valid = await made.upload(numbered(20))
    done = await made.create(n_epochs=1, validation_file=valid)
    async with made.running():
        done = await made.ended(done)
    assert done.progress.evaluation is not None
    assert done.progress.evaluation["examples"] == 3
    assert len(made.models.asked) == 6


@pytest.mark.parametrize("action", ["cancel", "pause"])
async def test_a_job_that_is_stopped_while_it_is_measured_promotes_nothing(
    made: Bench, action: str
) -> None:
    job = await made.create(n_epochs=1, evaluation=Evaluation(publish_to="x", then=Then.LIVE))
    made.models.held = asyncio.Event()
    async with made.running():
        async with asyncio.timeout(30):
            while not made.models.asked:
                await asyncio.sleep(POLL_S)
        await getattr(made.jobs, action)("me", job.id)
        made.models.held.set()
        other = await made.create(n_epochs=1)
        await made.ended(other)
        assert made.publisher.promoted == []
        if action == "pause":
            await made.jobs.resume("me", job.id)
            assert (await made.ended(job)).status is Status.SUCCEEDED
            assert len(made.publisher.promoted) == 1
        else:
            assert not made.jobs.folders.of(job.id).exists()


async def test_a_run_that_goes_on_after_the_promotion_judges_as_the_one_before(
    made: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("veneer_server.training.jobs.runner._AGAIN_S", 0.1)
    job = await made.create(n_epochs=1, evaluation=Evaluation(publish_to="x", then=Then.LIVE))
    made.publisher.unavailable_after_promotion = 1
    async with made.running():
        done = await made.ended(job)
    assert done.status is Status.SUCCEEDED
    assert made.publisher.promoted == [("step-8", "x", Then.LIVE)] * 2
    told = await made.told(job)
    assert len([one for one in told if one.startswith("Held-out loss")]) == 1
    assert told.count("Published as x") == 1


@pytest.mark.parametrize(
    ("source", "better", "why"),
    [
        ("return float(sample['output_text'] == 'aye')", True, "It is better than the base."),
        ("return item['text']", False, "The grader mine failed: KeyError in line 2: 'text'."),
        ("raise SystemExit", False, "The grader mine crashed, or used too much time or memory."),
        (None, False, "The grader mine cannot be read."),
    ],
)
async def test_a_grader_of_the_operator_counts_and_when_it_fails_nothing_is_published(
    made: Bench, tmp_path: Path, source: str | None, better: bool, why: str
) -> None:
    path = tmp_path / "mine.py"
    if source is not None:
        path.write_text(f"def grade(sample, item):\n    {source}\n")
    made.models.answers = {"ft:": "aye"}
    with Sandbox() as sandbox:
        made.score = PythonGraders(lambda: {"mine": path}, sandbox)
        done = await trained(made, graders=(Grader(type="python", name="mine"),))
    found = done.progress.evaluation
    assert found is not None
    assert (found["better"], found["why"]) == (better, why)
    assert found["candidate"]["grades"] == ({"mine": 1.0} if better else {})
    assert found["base"]["grades"] == ({"mine": 0.0} if better else {})
    assert bool(made.publisher.promoted) == better
    assert any(why in one for one in await made.told(done))
