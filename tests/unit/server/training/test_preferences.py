"""The method ``dpo``: its loss, what it learns, and that it goes on as if nothing had happened."""

import math
import signal
from pathlib import Path
from typing import Any

import pytest

from support.asked import need
from support.training_jobs import base as make_base
from support.training_jobs import job, last_adapter, pairs, run, write_examples
from veneer_server.training.events import read_events
from veneer_server.training.folder import JobFolder, read_json
from veneer_server.training.job import Job
from veneer_server.training.rows.examples import Example
from veneer_server.training.rows.rows import Method

torch = need("torch")
need("peft")
pytestmark = [
    pytest.mark.engine,
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
]

DPO: dict[str, Any] = {"method": "dpo", "epochs": 6, "beta": 0.5, "learning_rate": 0.03}
STEPS = 24


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import veneer_server.training.child.loop  # noqa: F401 - forked processes have it then

    return make_base(tmp_path_factory.mktemp("base") / "base")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Path:
    """The folder of a job that ran from the beginning to the end."""
    folder = tmp_path_factory.mktemp("whole") / "job"
    job(folder, base, **DPO)
    assert run(folder) == 0
    return folder


def figures(folder: Path, message: str) -> list[dict[str, Any]]:
    events, _ = read_events(folder / "events.jsonl")
    return [event["data"] for event in events if message in event["message"]]


def likely(model: Any, example: Example) -> float:
    """Return the logarithm of how likely the tokens that count are, from all logits."""
    ids = torch.tensor([list(example.ids)])
    with torch.no_grad():
        logits = model(input_ids=ids).logits[0, :-1].log_softmax(-1)
    spots = [at for start, end in example.spans for at in range(start, end)]
    return math.fsum(logits[at - 1, example.ids[at]].item() for at in spots)


def test_the_loss_of_pairs_is_that_of_the_paper() -> None:
    from veneer_server.training.child.loss import means, preference_loss

    likelier, reference = [3.0, -1.0, 0.5], [1.0, 1.5, 0.5]
    scored = preference_loss(torch.tensor(likelier), torch.tensor(reference), 0.1)
    margins = [0.1 * (mine - its) for mine, its in zip(likelier, reference, strict=True)]
    losses = [math.log(1 + math.exp(-margin)) for margin in margins]
    found = means([scored], "train")
    assert found["train_loss"] == pytest.approx(sum(losses) / 3)
    assert found["train_loss"] == pytest.approx(0.7057, abs=1e-4), "as computed by hand"
    assert found["train_reward_margin"] == pytest.approx(sum(margins) / 3)
    assert found["train_reward_accuracy"] == pytest.approx(1.5 / 3), "a tie is half right"


def test_the_reference_is_the_base_without_the_adapter(whole: Path, base: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base).eval()
    kept = read_json(JobFolder(whole).reference)
    assert kept is not None
    for name, rows in (("train", pairs(16)), ("valid", pairs(4, seed=4))):
        wanted = [likely(model, better) - likely(model, other) for better, other in rows]
        assert kept[name] == pytest.approx(wanted, rel=1e-4, abs=1e-4)


def test_a_model_learns_which_answer_is_better(whole: Path) -> None:
    steps = figures(whole, "training loss=")
    assert [one["step"] for one in steps] == list(range(1, STEPS + 1))
    assert steps[0]["train_loss"] == pytest.approx(math.log(2), abs=1e-3), "it is the base yet"
    made = figures(whole, "Checkpoint created")
    margins = [one["valid_reward_margin"] for one in made]
    assert margins[-1] > margins[0] > 0
    assert made[-1]["valid_loss"] < math.log(2) - 0.2
    assert made[-1]["valid_reward_accuracy"] > 0.5
    assert "valid_mean_token_accuracy" not in made[-1]


def test_what_the_trainer_says_is_what_the_exported_adapter_does(whole: Path, base: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base).eval()
    rows = pairs(4, seed=4)
    before = [likely(model, better) - likely(model, other) for better, other in rows]
    tuned = PeftModel.from_pretrained(model, JobFolder(whole).complete()[-1].adapter).eval()
    after = [likely(tuned, better) - likely(tuned, other) for better, other in rows]
    margins = [0.5 * (now - was) for now, was in zip(after, before, strict=True)]
    said = figures(whole, "Checkpoint created")[-1]["valid_reward_margin"]
    assert said == pytest.approx(sum(margins) / 4, rel=0.05), "the adapter is exported in bf16"


@pytest.mark.parametrize(
    "kill", ["training.reference:1", "training.step:1", "training.step:6", "training.write:2"]
)
def test_a_run_that_was_killed_ends_with_the_same_weights(
    tmp_path: Path, base: Path, whole: Path, kill: str
) -> None:
    folder = tmp_path / "job"
    job(folder, base, **DPO)
    assert run(folder, f"{kill}:kill") == -signal.SIGKILL
    assert run(folder) == 0
    assert last_adapter(folder) == last_adapter(whole)
    measured = len(figures(folder, "pairs with the base, once"))
    assert measured == (2 if kill.startswith("training.reference") else 1)


def test_other_rows_get_another_reference_also_when_the_adapter_has_learned(
    tmp_path: Path, base: Path, whole: Path
) -> None:
    folder = tmp_path / "job"
    job(folder, base, **DPO)
    assert run(folder, "training.step:6:kill") == -signal.SIGKILL
    write_examples(folder / "valid.jsonl", pairs(4, seed=8))
    assert run(folder) == 0
    kept = [read_json(JobFolder(each).reference) for each in (folder, whole)]
    assert all(kept)
    assert kept[0]["train"] == kept[1]["train"]  # type: ignore[index]
    assert kept[0]["valid"] != kept[1]["valid"]  # type: ignore[index]


def test_a_row_without_a_pair_fails_the_job(tmp_path: Path, base: Path) -> None:
    folder = tmp_path / "job"
    job(folder, base, **DPO)
    write_examples(folder / "train.jsonl", [pair[0] for pair in pairs(16)])
    assert run(folder) == 1
    result = read_json(folder / "result.json")
    assert result is not None
    assert result["error"]["code"] == "invalid_training_file"


def test_a_checkpoint_of_a_supervised_job_knows_no_beta(base: Path) -> None:
    usual: dict[str, Any] = {"id": "x", "base": base, "base_id": "b", "train": "t", "epochs": 1}
    made = Job(**usual, batch_size=1, learning_rate=0.1)
    assert "beta" not in made.recipe()
    assert made.model_copy(update={"method": Method.DPO}).recipe()["beta"] == 0.1
