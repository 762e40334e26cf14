"""What is asked for becomes numbers, and what a trainer says becomes what people are told."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from support import builders
from support.fine_tuning import BASE
from veneer_adapters.catalog.revision import Revision
from veneer_server.api.errors import InvalidRequest
from veneer_server.api.fine_tuning.bodies import to_asked, to_filter
from veneer_server.training.job import Lora, Means
from veneer_server.training.jobs.errors import JobRefused, JobUnsupported
from veneer_server.training.jobs.records import FineTuningJob, Origin, Progress, Status
from veneer_server.training.jobs.rules import choose_next, require_possible, to_recipe, to_work
from veneer_server.training.jobs.sql.conversions import to_job, to_row
from veneer_server.training.jobs.working.following import read
from veneer_server.training.jobs.working.results import to_csv

BODY = {"model": "echo", "training_file": "file-1"}


def job(number: int = 1, **changed: Any) -> FineTuningJob:
    recipe = to_recipe(to_asked(BODY), 100, 3, BASE)
    made = FineTuningJob(
        id=f"ftjob-{number}",
        owner="me",
        tenant=None,
        number=number,
        adapter="ft-abcdefgh",
        organization="veneer",
        recipe=recipe,
        created=0,
    )
    return replace(made, **changed)


def supervised(**hyperparameters: Any) -> dict[str, Any]:
    return {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}}


@pytest.mark.parametrize(
    "more",
    [
        {"method": supervised(n_epochs=3, batch_size=4)},
        {"hyperparameters": {"n_epochs": 3, "batch_size": 4}},
        {"hyperparameters": {"n_epochs": 3, "batch_size": 4}, "method": {"type": "supervised"}},
        {"hyperparameters": {"n_epochs": 9}, "method": supervised(n_epochs=3, batch_size=4)},
    ],
)
def test_hyperparameters_stand_in_the_method_or_beside_it(more: dict[str, Any]) -> None:
    asked = to_asked({**BODY, **more})
    found = to_recipe(asked, 100, 3, BASE).hyperparameters
    assert (found.n_epochs, found.batch_size, found.learning_rate_multiplier) == (3, 4, 1.0)


def dpo(**hyperparameters: Any) -> dict[str, Any]:
    return {"type": "dpo", "dpo": {"hyperparameters": hyperparameters}}


@pytest.mark.parametrize(
    ("more", "beta"),
    [
        ({"method": dpo(n_epochs=3, batch_size=4, beta=0.3)}, 0.3),
        ({"method": dpo(n_epochs=3, batch_size=4, beta="auto")}, 0.1),
        ({"method": dpo(n_epochs=3, batch_size=4, beta=None)}, 0.1),
        ({"method": {"type": "dpo"}, "hyperparameters": {"n_epochs": 3, "batch_size": 4}}, 0.1),
    ],
)
def test_preferences_are_learned_with_a_beta_and_more_slowly(
    more: dict[str, Any], beta: float
) -> None:
    recipe = to_recipe(to_asked({**BODY, **more}), 100, 3, BASE)
    found = recipe.hyperparameters
    assert (recipe.method, found.n_epochs, found.batch_size, found.beta) == ("dpo", 3, 4, beta)
    work = to_work(job(recipe=recipe), 100, BASE, Means())
    assert (work.method, work.beta) == ("dpo", beta)
    assert work.learning_rate == pytest.approx(
        to_work(job(), 100, BASE, Means()).learning_rate / 10
    )
    chosen = to_asked({**BODY, **more, "lora": {"learning_rate": 0.002}})
    work = to_work(job(recipe=to_recipe(chosen, 100, 3, BASE)), 100, BASE, Means())
    assert work.learning_rate == pytest.approx(0.002)


def test_only_preferences_have_a_beta() -> None:
    assert to_recipe(to_asked(BODY), 100, 3, BASE).hyperparameters.beta is None
    with pytest.raises(InvalidRequest, match="Unknown parameter"):
        to_asked({**BODY, "method": supervised(beta=0.1)})


def test_a_job_that_an_earlier_server_made_is_supervised() -> None:
    row = to_row(job())
    recipe = json.loads(row["recipe"])
    del recipe["method"], recipe["hyperparameters"]["beta"]
    assert to_job({**row, "recipe": json.dumps(recipe)}) == job()
    preferred = job(recipe=to_recipe(to_asked({**BODY, "method": dpo()}), 100, 3, BASE))
    assert to_job(to_row(preferred)) == preferred


def test_what_is_left_out_or_null_or_auto_is_resolved() -> None:
    nothing = {"method": None, "hyperparameters": {"n_epochs": "auto", "batch_size": None}}
    recipe = to_recipe(to_asked({**BODY, **nothing, "seed": None}), 100, 3, BASE)
    assert (recipe.hyperparameters.n_epochs, recipe.hyperparameters.batch_size) == (7, 8)
    assert (recipe.seed, recipe.lora.r, recipe.lora.alpha) == (3, 8, 16)
    small = replace(BASE, most_rank=4)
    assert to_recipe(to_asked(BODY), 100, 3, small).lora.r == 4


def test_the_adapters_own_knobs_reach_the_trainer() -> None:
    knobs = {"r": 16, "dropout": 0.1, "target_modules": ["q_proj"], "learning_rate": 0.002}
    recipe = to_recipe(to_asked({**BODY, "lora": knobs}), 100, 3, BASE)
    assert recipe.lora == Lora(r=16, alpha=32, dropout=0.1, target_modules=("q_proj",))
    work = to_work(job(recipe=recipe), 100, BASE, Means())
    assert work.learning_rate == pytest.approx(0.002)
    assert recipe.hyperparameters.learning_rate_multiplier == pytest.approx(2.0)


def test_a_long_job_has_about_ten_checkpoints() -> None:
    assert to_work(job(), 100, BASE, Means()).checkpoint_steps == 20
    assert to_work(job(), 8000, BASE, Means()).checkpoint_steps == 700


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"model": ""}, "model"),
        ({"training_file": None}, "training_file"),
        ({"training_file": 3}, "training_file"),
        ({"extra": 1}, "extra"),
        ({"suffix": "a:b"}, "suffix"),
        ({"suffix": ""}, "suffix"),
        ({"suffix": "x" * 65}, "suffix"),
        ({"seed": -1}, "seed"),
        ({"seed": True}, "seed"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"metadata": {"a": "x" * 513}}, "metadata.a"),
        ({"hyperparameters": {"n_epochs": 0}}, "hyperparameters.n_epochs"),
        ({"hyperparameters": {"n_epochs": "many"}}, "hyperparameters.n_epochs"),
        ({"hyperparameters": {"batch_size": 257}}, "hyperparameters.batch_size"),
        (
            {"method": supervised(learning_rate_multiplier=0)},
            "method.supervised.hyperparameters.learning_rate_multiplier",
        ),
        ({"method": {"type": "osmosis"}}, "method.type"),
        ({"method": dpo(beta=0)}, "method.dpo.hyperparameters.beta"),
        ({"method": dpo(beta=2.1)}, "method.dpo.hyperparameters.beta"),
        ({"method": {"type": "dpo", "dpo": 3}}, "method.dpo"),
        ({"method": {}}, "method.type"),
        ({"lora": {"r": 0}}, "lora.r"),
        ({"lora": {"rank": 8}}, "lora.rank"),
        ({"lora": {"dropout": 1}}, "lora.dropout"),
    ],
)
def test_what_is_impossible_is_refused_and_names_the_field(
    more: dict[str, Any], param: str
) -> None:
    with pytest.raises(InvalidRequest) as told:
        to_asked({**BODY, **more})
    assert str(told.value.param).startswith(param.partition(".")[0])
    assert param.rpartition(".")[2] in str(told.value.param) or param.startswith("metadata")


def test_what_is_missing_is_named() -> None:
    with pytest.raises(InvalidRequest, match="Missing required parameter: 'training_file'"):
        to_asked({"model": "echo"})


@pytest.mark.parametrize(
    ("more", "said", "param"),
    [
        ({"method": {"type": "reinforcement"}}, "by reinforcement", "method.type"),
        ({"integrations": [{"type": "wandb"}]}, "no other service", "integrations"),
    ],
)
def test_what_openai_has_and_this_server_not_is_unsupported(
    more: dict[str, Any], said: str, param: str
) -> None:
    with pytest.raises(JobUnsupported, match=said) as told:
        to_asked({**BODY, **more})
    assert told.value.param == param


def test_an_adapter_that_could_not_be_served_is_refused_before_it_is_trained() -> None:
    base = replace(BASE, most_rank=8, modules=frozenset({"q_proj", "o_proj"}))
    wrong = [({"r": 9}, "lora.r"), ({"target_modules": ["v_proj"]}, "lora.target_modules")]
    for lora, param in wrong:
        with pytest.raises(JobRefused) as told:
            require_possible(to_asked({**BODY, "lora": lora}), base)
        assert told.value.param == param
    require_possible(to_asked({**BODY, "lora": {"r": 8, "target_modules": ["q_proj"]}}), base)


def start(**facts: Any) -> Revision:
    known = replace(builders.MANIFEST, **{"base_name": "org/Echo", **facts})
    return replace(builders.revision("pirate", number=3), manifest=known)


def test_a_job_that_goes_on_from_an_adapter_keeps_its_shape_and_says_which_it_was() -> None:
    asked = to_asked({**BODY, "lora": {"dropout": 0.1, "r": 4, "learning_rate": 0.001}})
    for found in (start(), start(base_name="/home/me/model"), start(base_name=None)):
        require_possible(asked, BASE, found)
    recipe = to_recipe(asked, 100, 3, BASE, start=start())
    assert recipe.lora == Lora(r=4, alpha=8, dropout=0.1, target_modules=("q_proj", "v_proj"))
    assert recipe.started_from == Origin("pirate@3", "sha256:" + "1" * 64)
    made = job(recipe=recipe)
    assert to_job(to_row(made)) == made
    assert to_work(made, 100, BASE, Means()).start == Path("start")
    assert to_work(job(), 100, BASE, Means()).start is None
    half = to_recipe(to_asked(BODY), 100, 3, BASE, start=start(alpha=0.5))
    assert half.lora.alpha == 0.5


@pytest.mark.parametrize(
    ("facts", "lora", "param", "why"),
    [
        ({}, {"r": 8}, "lora.r", "`pirate@3` has r 4, and a job that goes on from it cannot"),
        ({}, {"alpha": 16}, "lora.alpha", "leave 'lora.alpha' out"),
        ({}, {"target_modules": ["q_proj"]}, "lora.target_modules", "q_proj, v_proj"),
        ({"rank": 65}, {}, "model", "has rank 65"),
        ({"base_name": "org/other"}, {}, "model", "trained for `org/other`"),
    ],
)
def test_an_adapter_that_a_job_cannot_go_on_from_is_refused(
    facts: dict[str, Any], lora: dict[str, Any], param: str, why: str
) -> None:
    with pytest.raises(JobRefused, match=why) as told:
        require_possible(to_asked({**BODY, "lora": lora}), BASE, start(**facts))
    assert told.value.param == param


def test_a_list_is_asked_for_by_metadata() -> None:
    assert to_filter({"limit": "3"}) is None
    assert to_filter({"metadata": "null"}) == {}
    assert to_filter({"metadata[a]": "1", "metadata[b c]": "2"}) == {"a": "1", "b c": "2"}
    with pytest.raises(InvalidRequest):
        to_filter({f"metadata[{n}]": "x" for n in range(17)})
    with pytest.raises(InvalidRequest):
        to_filter({"metadata[a]": "\0"})


def test_what_runs_already_is_next_then_the_oldest_and_never_what_is_paused() -> None:
    jobs = [job(1, paused=True), job(2), job(3, status=Status.RUNNING), job(4)]
    assert [one.number for one in choose_next(jobs)] == [3, 2, 4]


def step(number: int, total: int = 100) -> dict[str, Any]:
    data = {"step": number, "total_steps": total, "trained_tokens": number * 7, "seconds": 2.0}
    return {"type": "metrics", "message": f"Step {number}", "created_at": 1000, "data": data}


def test_figures_that_come_again_after_a_kill_are_told_once() -> None:
    progress, _ = read([step(1), step(2)], Progress())
    assert (progress.step, progress.total_steps, progress.trained_tokens) == (2, 100, 14)
    assert progress.finish == 1000 + 98 * 2
    started = {"type": "message", "message": "goes on", "level": "info"}
    progress, more = read([started, step(2), step(3)], progress)
    assert [event.message for event in more] == ["goes on", "Step 3"]
    made = {"type": "metrics", "message": "Checkpoint", "data": {"step": 20}}
    progress, told = read([made, made], progress)
    assert [event.message for event in told] == ["Checkpoint"]
    assert read([made], progress) == (progress, [])


def test_of_a_long_job_not_every_step_is_told() -> None:
    total = 5003
    _, told = read([step(n, total) for n in range(1, total + 1)], Progress())
    assert 400 < len(told) <= 501
    assert told[-1].message == f"Step {total}"


@pytest.mark.parametrize("odd", [{}, {"data": 3, "level": 7}, {"data": {"step": "x"}}])
def test_odd_events_of_another_trainer_do_no_harm(odd: dict[str, Any]) -> None:
    assert read([{"type": "metrics", **odd}], Progress()) == (Progress(), [])
    assert [event.level for event in read([odd], Progress())[1]] == ["info"]
    assert to_csv([odd]).decode().count("\n") == 1


def test_the_file_of_results_has_rewards_where_there_are_some() -> None:
    data = {"step": 1, "train_loss": 0.5, "train_reward_margin": 0.2}
    head, line = to_csv([{"type": "metrics", "data": data}]).decode().splitlines()
    assert head.endswith(",live_full_valid_loss,train_reward_margin")
    assert line == "1,0.5,,,,,,,,0.2"
