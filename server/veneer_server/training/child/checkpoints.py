"""Checkpoints: what is saved, when it counts, and what a run goes on from.

A checkpoint is written under another name, made durable, and then renamed: whatever ends the
process, a folder named ``step-N`` is complete. Nothing in it is a pickle. There is no state of a
random number generator: ``batches`` and ``loop`` derive every random number from seed and step.
"""

import copy
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import load_file, save_file

from veneer_adapters.faults import fault_point
from veneer_server.training.child.failures import TrainingFailed
from veneer_server.training.child.model import trained
from veneer_server.training.folder import Checkpoint, JobFolder, read_json, replace_json

PROGRESS = "progress.json"
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


def save(
    folder: JobFolder, step: int, model: Any, optimizer: Any, progress: Mapping[str, Any]
) -> Checkpoint:
    """Write the checkpoint of ``step``, then remove the state of the earlier ones."""
    earlier = folder.complete()
    new = folder.checkpoints / f".step-{step}.new"
    shutil.rmtree(new, ignore_errors=True)
    _write(new, model, optimizer, progress)
    fault_point("training.rename")
    made = Checkpoint(step, folder.checkpoints / f"step-{step}")
    shutil.rmtree(made.path, ignore_errors=True)  # it lost its state, or this run would be past it
    os.rename(new, made.path)
    _sync(folder.checkpoints)
    for old in earlier:
        shutil.rmtree(old.state, ignore_errors=True)
    return made


def note(checkpoint: Checkpoint, progress: Mapping[str, Any]) -> None:
    """Replace what a checkpoint says of itself."""
    replace_json(checkpoint.path / PROGRESS, progress)


def newest(
    folder: JobFolder, recipe: Mapping[str, Any]
) -> tuple[Checkpoint, dict[str, Any]] | None:
    """Return the newest checkpoint to go on from and what it says of itself, None for none.

    Raises:
        TrainingFailed: it is of a job with another recipe.
    """
    for checkpoint in reversed(folder.complete()):
        progress = read_json(checkpoint.path / PROGRESS)
        if progress is None or not checkpoint.state.is_dir():
            continue
        if progress["recipe"] != recipe:
            raise TrainingFailed("job_changed", "The job has changed since its last checkpoint.")
        return checkpoint, progress
    return None


def restore(checkpoint: Checkpoint, model: Any, optimizer: Any) -> None:
    """Give ``model`` and ``optimizer`` the state of ``checkpoint``."""
    weights = load_file(checkpoint.state / "weights.safetensors")
    moments = load_file(checkpoint.state / "optimizer.safetensors")
    for name, weight in trained(model).items():
        with torch.no_grad():
            weight.copy_(weights[name])
        optimizer.state[weight] = {
            part: moments[f"{part}/{name}"].to("cpu" if part == "step" else weight.device)
            for part in _MOMENTS
        }


def _write(new: Path, model: Any, optimizer: Any, progress: Mapping[str, Any]) -> None:
    adapter, state = new / "adapter", new / "state"
    for made in (adapter, state):
        made.mkdir(parents=True)
    export(model, model.peft_config["default"], str(progress["recipe"]["base_id"]), adapter)
    fault_point("training.write")
    weights = trained(model)
    save_file(_plain(weights), state / "weights.safetensors")
    moments = {
        f"{part}/{name}": optimizer.state[weight][part]
        for name, weight in weights.items()
        for part in _MOMENTS
    }
    save_file(_plain(moments), state / "optimizer.safetensors")
    replace_json(new / PROGRESS, progress)
    for path in (*adapter.iterdir(), *state.iterdir(), new / PROGRESS, adapter, state, new):
        _sync(path)


def export(model: Any, config: LoraConfig, base_id: str, folder: Path) -> None:
    """Write the two files of the adapter: in bf16, and without any path of this machine."""
    shown = copy.deepcopy(config)
    shown.base_model_name_or_path = base_id
    shown.inference_mode = True
    if not isinstance(shown.target_modules, str):  # a pattern
        shown.target_modules = sorted(shown.target_modules or ())
    shown.save_pretrained(str(folder))
    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    tensors = {name: value.to(torch.bfloat16) for name, value in state.items()}
    save_file(_plain(tensors), folder / "adapter_model.safetensors", metadata={"format": "pt"})


def _plain(tensors: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value.detach().cpu().contiguous() for name, value in tensors.items()}


def _sync(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
