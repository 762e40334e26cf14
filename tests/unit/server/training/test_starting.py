"""A job that goes on from an adapter begins with its weights, in its shape."""

import json
import math
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from support.asked import need
from support.training_jobs import base as make_base
from support.training_jobs import job, last_adapter, pairs, run, write_examples
from veneer_server.training.events import read_events
from veneer_server.training.folder import JobFolder, read_json

torch = need("torch")
need("peft")
pytestmark = [
    pytest.mark.engine,
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
]

METHODS = [{}, {"method": "dpo", "beta": 0.5}]
ODD: dict[str, Any] = {
    "r": 4,
    "lora_alpha": 6.5,
    "use_rslora": True,
    "rank_pattern": {"q_proj": 2},
    "alpha_pattern": {"layers.1.self_attn.v_proj": 3},
    "target_modules": r".*\.(q_proj|v_proj)",
    "init_lora_weights": "gaussian",
    "task_type": "CAUSAL_LM",
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import veneer_server.training.child.loop  # noqa: F401 - forked processes have it then

    return make_base(tmp_path_factory.mktemp("base") / "base")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Path:
    """The folder of an adapter that an earlier job has made."""
    folder = tmp_path_factory.mktemp("trained") / "job"
    job(folder, base)
    assert run(folder) == 0
    return JobFolder(folder).complete()[-1].adapter


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Path:
    """The folder of an adapter of which two modules have a rank and alpha of their own."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(9)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(**ODD))
    for name, weight in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight)
    folder = tmp_path_factory.mktemp("odd")
    model.to(torch.bfloat16).save_pretrained(folder)
    return folder


def going_on(folder: Path, base: Path, start: Path, **more: Any) -> Path:
    job(folder, base, start="start", **more)
    shutil.copytree(start, folder / "start")
    return folder


def figures(folder: Path, message: str) -> list[dict[str, Any]]:
    events, _ = read_events(folder / "events.jsonl")
    return [event["data"] for event in events if message in event["message"]]


@pytest.mark.parametrize("which", ["trained", "odd"])
def test_who_learns_nothing_more_has_the_adapter_that_it_began_with(
    tmp_path: Path, base: Path, which: str, request: pytest.FixtureRequest
) -> None:
    from safetensors.torch import load_file

    start = request.getfixturevalue(which)
    folder = going_on(tmp_path / "job", base, start, learning_rate=1e-12)
    assert run(folder) == 0
    made = JobFolder(folder).complete()[-1].adapter
    was, now = (load_file(each / "adapter_model.safetensors") for each in (start, made))
    assert was.keys() == now.keys()
    assert all(torch.equal(was[name], now[name]) for name in was)
    first, then = (json.loads((each / "adapter_config.json").read_text()) for each in (start, made))
    for member in ("r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern"):
        assert then[member] == first[member]
    assert then["base_model_name_or_path"] == "acme/base"


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kill", ["training.step:1", "training.step:6", "training.write:2"])
def test_a_run_that_was_killed_ends_with_the_same_weights(
    tmp_path: Path, base: Path, trained: Path, method: dict[str, Any], kill: str
) -> None:
    whole = going_on(tmp_path / "whole", base, trained, **method)
    assert run(whole) == 0
    folder = going_on(tmp_path / "job", base, trained, **method)
    assert run(folder, f"{kill}:kill") == -signal.SIGKILL
    assert run(folder) == 0
    assert last_adapter(folder) == last_adapter(whole)


def test_preferences_are_measured_against_the_adapter_that_was_there_at_the_beginning(
    tmp_path: Path, base: Path, trained: Path
) -> None:
    method = {**METHODS[1], "epochs": 6}
    whole = going_on(tmp_path / "whole", base, trained, **method)
    assert run(whole) == 0
    told = figures(whole, "training loss=")
    assert told[0]["train_loss"] == pytest.approx(math.log(2), abs=0.05)
    assert told[-1]["train_loss"] < told[0]["train_loss"] - 0.1
    folder = going_on(tmp_path / "job", base, trained, **method)
    assert run(folder, "training.step:6:kill") == -signal.SIGKILL
    write_examples(folder / "valid.jsonl", pairs(4, seed=8))  # so it must be found out again
    assert run(folder) == 0
    kept = [read_json(JobFolder(each).reference) for each in (folder, whole)]
    # Other rows make other batches, which round otherwise.
    assert kept[0]["train"] == pytest.approx(kept[1]["train"], rel=1e-3)  # type: ignore[index]
    assert kept[0]["valid"] != kept[1]["valid"]  # type: ignore[index]


def failure(folder: Path) -> str:
    assert run(folder) == 1
    result = read_json(folder / "result.json")
    assert result is not None
    return str(result["error"]["code"])


def test_another_adapter_than_at_the_beginning_fails_the_job(
    tmp_path: Path, base: Path, trained: Path
) -> None:
    folder = going_on(tmp_path / "job", base, trained)
    assert run(folder, "training.step:6:kill") == -signal.SIGKILL
    from safetensors.torch import load_file, save_file

    path = folder / "start" / "adapter_model.safetensors"
    save_file({name: value * 2 for name, value in load_file(path).items()}, path)
    assert failure(folder) == "job_changed"


@pytest.mark.parametrize("spoiled", ["config", "weights", "other modules"])
def test_an_adapter_that_cannot_be_used_fails_the_job(
    tmp_path: Path, base: Path, trained: Path, spoiled: str
) -> None:
    folder = going_on(tmp_path / "job", base, trained)
    path = folder / "start" / "adapter_config.json"
    if spoiled == "config":
        path.write_text("{")
    elif spoiled == "weights":
        (folder / "start" / "adapter_model.safetensors").write_bytes(b"x" * 20)
    else:
        path.write_text(json.dumps({**json.loads(path.read_text()), "target_modules": ["q_proj"]}))
    assert failure(folder) == "adapter_unusable"
