"""The trainer: it ends with the same adapter whatever happened on the way, and says why it fails.

Each run is a process forked from this one, so that PyTorch is imported once.
"""

import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from support.asked import need
from support.training_jobs import base as make_base
from support.training_jobs import (
    examples,
    job,
    last_adapter,
    run,
    running,
    write_examples,
)
from veneer_server.training.events import read_events
from veneer_server.training.folder import PAUSED, JobFolder, read_json
from veneer_server.training.job import Lora

torch = need("torch")
need("peft")
pytestmark = [
    pytest.mark.engine,
    pytest.mark.filterwarnings(
        "ignore:.*fork:DeprecationWarning"
    ),  # Python 3.12: PyTorch has threads
]

STEPS = 12


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import veneer_server.training.child.loop  # noqa: F401 - forked processes have it then

    return make_base(tmp_path_factory.mktemp("base") / "base")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Path:
    """The folder of a job that ran from the beginning to the end."""
    folder = tmp_path_factory.mktemp("whole") / "job"
    job(folder, base)
    assert run(folder) == 0
    return folder


def messages(folder: Path) -> list[str]:
    return [event["message"] for event in read_events(folder / "events.jsonl")[0]]


def metrics(folder: Path, message: str) -> list[dict[str, Any]]:
    events, _ = read_events(folder / "events.jsonl")
    return [event["data"] for event in events if message in event["message"]]


def test_a_run_writes_events_and_checkpoints_and_says_how_it_ended(whole: Path) -> None:
    result = read_json(whole / "result.json")
    assert result is not None
    assert (result["outcome"], result["step"]) == ("succeeded", STEPS)
    assert [each.step for each in JobFolder(whole).complete()] == [4, 8, 12]
    steps = metrics(whole, "training loss=")
    assert [figures["step"] for figures in steps] == list(range(1, STEPS + 1))
    assert {figures["total_steps"] for figures in steps} == {STEPS}
    assert result["trained_tokens"] == 3 * sum(len(each.ids) for each in examples(16))
    made = metrics(whole, "Checkpoint created at step")
    assert [figures["step"] for figures in made] == [4, 8, 12]
    assert made[-1]["valid_loss"] < made[0]["valid_loss"]
    assert result["metrics"] == made[-1]
    beat = read_json(whole / "heartbeat.json")
    assert beat is not None
    assert (beat["step"], beat["total_steps"]) == (STEPS, STEPS)


def test_a_checkpoint_has_an_adapter_of_exactly_two_files_without_a_local_path(
    whole: Path, base: Path
) -> None:
    from safetensors import safe_open

    for checkpoint in JobFolder(whole).complete():
        names = {path.name for path in checkpoint.adapter.iterdir()}
        assert names == {"adapter_config.json", "adapter_model.safetensors"}
        config = json.loads((checkpoint.adapter / "adapter_config.json").read_text())
        assert config["base_model_name_or_path"] == "acme/base"
        assert (config["r"], config["lora_alpha"]) == (4, 8)
        with safe_open(checkpoint.adapter / "adapter_model.safetensors", "pt") as tensors:
            names = list(tensors.keys())
            kinds = {tensors.get_tensor(name).dtype for name in names}
        assert kinds == {torch.bfloat16}
        assert len(names) == 2 * 4 * 2
        for path in checkpoint.path.rglob("*.json"):
            assert str(base) not in path.read_text()


def test_only_the_newest_checkpoint_has_what_a_run_goes_on_from(whole: Path) -> None:
    assert [each.state.is_dir() for each in JobFolder(whole).complete()] == [False, False, True]
    files = [path.name for path in whole.rglob("*") if path.is_file()]
    assert not [name for name in files if name.endswith((".bin", ".pt", ".pkl"))]


KILLS = [f"training.step:{step}:kill" for step in (1, 3, 4, 5, 8, 11, 12)]
KILLS += [f"training.{point}:{n}:kill" for point in ("write", "rename") for n in (1, 2, 3)]


@pytest.mark.parametrize("kill", KILLS)
def test_a_run_that_was_killed_ends_with_the_same_weights(
    tmp_path: Path, base: Path, whole: Path, kill: str
) -> None:
    folder = tmp_path / "job"
    job(folder, base)
    assert run(folder, kill) == -signal.SIGKILL
    assert run(folder) == 0
    assert last_adapter(folder) == last_adapter(whole)


def test_a_run_that_is_killed_again_and_again_ends_with_the_same_weights(
    tmp_path: Path, base: Path, whole: Path
) -> None:
    folder = tmp_path / "job"
    job(folder, base)
    codes = [run(folder, "training.step:6:kill") for _ in range(4)]
    assert codes == [-signal.SIGKILL, -signal.SIGKILL, 0, 0]
    assert last_adapter(folder) == last_adapter(whole)


def test_a_kill_loses_at_most_the_steps_since_the_last_checkpoint(
    tmp_path: Path, base: Path
) -> None:
    folder = tmp_path / "job"
    job(folder, base)
    run(folder, "training.step:7:kill")
    run(folder)
    assert "Fine-tuning job goes on from step 4/12" in messages(folder)
    again = metrics(folder, "Step 5/12")
    assert len(again) == 2
    assert again[0]["train_loss"] == again[1]["train_loss"]


def test_a_checkpoint_that_was_not_measured_before_the_kill_is_measured_later(
    tmp_path: Path, base: Path, whole: Path
) -> None:
    folder = tmp_path / "job"
    job(folder, base)

    def die_measuring() -> None:
        from veneer_server.training.child.loop import Loop

        Loop._valid = lambda _loop: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment, method-assign, return-value]

    assert run(folder, before=die_measuring) == -signal.SIGKILL
    assert metrics(folder, "Checkpoint created") == []
    assert run(folder) == 0
    assert metrics(folder, "Checkpoint created") == metrics(whole, "Checkpoint created")


def stuck_at(step: int, mark: Path) -> Any:
    """Return what makes a step last for ever."""

    def patch() -> None:
        from veneer_server.training.child.loop import Loop

        usual = Loop._backward

        def backward(loop: Any, examples: Any) -> Any:
            if loop._step == step:
                mark.touch()
                threading.Event().wait()
            return usual(loop, examples)

        Loop._backward = backward  # type: ignore[method-assign]

    return patch


def wait_for(mark: Path) -> None:
    for _ in range(6000):
        if mark.exists():
            return
        threading.Event().wait(0.01)
    raise AssertionError(f"{mark.name} did not come")


@pytest.mark.parametrize("step", [0, 2, 4, 6])
def test_sigterm_in_the_middle_of_a_step_saves_the_last_one_and_ends_at_once(
    tmp_path: Path, base: Path, whole: Path, step: int
) -> None:
    folder = tmp_path / "job"
    job(folder, base)
    with running(folder, before=stuck_at(step, tmp_path / "stuck")) as process:
        wait_for(tmp_path / "stuck")
        os.kill(process.pid, signal.SIGTERM)
        assert process.ended(within_s=2) == 0
    assert read_json(folder / "result.json") == PAUSED
    assert [each.step for each in JobFolder(folder).complete()][-1:] == ([step] if step else [])
    assert messages(folder)[-1] == f"Paused at step {step}/12"
    assert run(folder) == 0
    assert last_adapter(folder) == last_adapter(whole)


def test_the_trainer_runs_after_all_others_and_dies_before_them(tmp_path: Path, base: Path) -> None:
    folder = tmp_path / "job"
    job(folder, base)
    with running(folder, before=stuck_at(1, tmp_path / "stuck")) as process:
        wait_for(tmp_path / "stuck")
        assert os.sched_getscheduler(process.pid) == os.SCHED_IDLE
        assert Path(f"/proc/{process.pid}/oom_score_adj").read_text() == "1000\n"


AUTOGROUP = Path("/proc/self/autogroup")


@pytest.mark.skipif(not AUTOGROUP.exists(), reason="this kernel does not group by session")
@pytest.mark.parametrize("leads", [True, False])
def test_a_session_of_the_trainer_alone_has_little_weight(
    tmp_path: Path, base: Path, leads: bool
) -> None:
    folder, before = tmp_path / "job", AUTOGROUP.read_text()
    job(folder, base)
    stop = stuck_at(1, tmp_path / "stuck")

    def begin() -> None:
        if leads:
            os.setsid()
        stop()

    with running(folder, before=begin) as process:
        wait_for(tmp_path / "stuck")
        told = Path(f"/proc/{process.pid}/autogroup").read_text()
    assert told.endswith(" nice 6\n") if leads else told == before
    assert AUTOGROUP.read_text() == before


def test_a_second_trainer_leaves_the_folder_alone(tmp_path: Path, base: Path) -> None:
    folder = tmp_path / "job"
    job(folder, base)
    with running(folder, before=stuck_at(1, tmp_path / "stuck")):
        wait_for(tmp_path / "stuck")
        assert run(folder) == os.EX_TEMPFAIL
        assert read_json(folder / "result.json") is None


@pytest.mark.parametrize("text", [None, "{", '{"id": "x"}'])
def test_a_job_that_cannot_be_read_is_a_usage_error(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "job.json").write_text(text)
    assert run(tmp_path) == os.EX_CONFIG


def failed(folder: Path, fault: str | None = None) -> tuple[str, str]:
    assert run(folder, fault) == 1
    result = read_json(folder / "result.json")
    assert result is not None
    assert result["outcome"] == "failed"
    assert messages(folder)[-1] == result["error"]["message"]
    return result["error"]["code"], result["error"]["message"]


def test_modules_that_the_base_does_not_have_fail_the_job(tmp_path: Path, base: Path) -> None:
    job(tmp_path / "job", base, lora=Lora(target_modules=("nowhere",)))
    code, message = failed(tmp_path / "job")
    assert code == "invalid_hyperparameters"
    assert "nowhere" in message


def test_a_base_that_is_not_there_fails_the_job(tmp_path: Path) -> None:
    job(tmp_path / "job", tmp_path / "gone")
    assert failed(tmp_path / "job")[0] == "base_unusable"


def test_a_full_disk_fails_the_job_and_a_later_run_goes_on(
    tmp_path: Path, base: Path, whole: Path
) -> None:
    folder = tmp_path / "job"
    job(folder, base)
    assert failed(folder, "training.write:2:enospc")[0] == "disk_full"
    assert run(folder) == 0
    assert last_adapter(folder) == last_adapter(whole)


def test_rows_that_changed_since_the_last_checkpoint_fail_the_job(
    tmp_path: Path, base: Path
) -> None:
    folder = tmp_path / "job"
    job(folder, base)
    run(folder, "training.step:5:kill")
    write_examples(folder / "train.jsonl", examples(16, seed=9))
    assert failed(folder)[0] == "job_changed"


def test_a_loss_that_is_no_number_fails_the_job(tmp_path: Path, base: Path) -> None:
    def broken() -> None:
        from veneer_server.training.child import loop

        usual = loop.load

        def load(job: Any) -> Any:
            model = usual(job)
            with torch.no_grad():
                model.get_base_model().lm_head.weight.fill_(float("nan"))
            return model

        loop.load = load

    folder = tmp_path / "job"
    job(folder, base)
    assert run(folder, before=broken) == 1
    result = read_json(folder / "result.json")
    assert result is not None
    assert result["error"]["code"] == "diverged"


def test_too_little_memory_is_said_so() -> None:
    from veneer_server.training.child.failures import to_failure

    for error in (MemoryError(), RuntimeError("CUDA out of memory. Tried"), OSError(28, "full")):
        assert to_failure(error).code in {"out_of_memory", "disk_full"}
    assert to_failure(RuntimeError("shape")).code == "server_error"


def test_bf16_trains_too(tmp_path: Path, base: Path) -> None:
    folder = tmp_path / "job"
    made = job(folder, base)
    made.model_copy(update={"means": made.means.model_copy(update={"precision": "bf16"})}).write(
        folder
    )
    assert run(folder) == 0
    losses = [figures["train_loss"] for figures in metrics(folder, "training loss=")]
    assert losses[-1] < losses[0]
