"""Going on from an adapter: the same shape, and its weights as the first ones.

Of its configuration only that is read which decides what it computes; how it was once begun, or
with which dropout it was trained, is another job's affair.
"""

import json
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from safetensors import SafetensorError
from safetensors.torch import load_file

from veneer_server.training.child.failures import TrainingFailed
from veneer_server.training.folder import START_CONFIG, START_WEIGHTS
from veneer_server.training.job import Job

_SHAPE = (
    "r",
    "lora_alpha",
    "use_rslora",
    "rank_pattern",
    "alpha_pattern",
    "target_modules",
    "exclude_modules",
    "layers_to_transform",
    "layers_pattern",
)
_PREFIX = "base_model.model."


def config_of(job: Job, start: Path) -> LoraConfig:
    """Return the shape of the adapter in the folder ``start``.

    Raises:
        TrainingFailed: it cannot be read.
    """
    try:
        found = json.loads((start / START_CONFIG).read_bytes())
        shape = {name: found[name] for name in _SHAPE if found.get(name) is not None}
        return LoraConfig(**shape, lora_dropout=job.lora.dropout, task_type="CAUSAL_LM")
    except (OSError, ValueError, TypeError) as error:
        raise _unusable("its configuration cannot be read") from error


def take_over(weights: dict[str, Any], start: Path) -> None:
    """Give the trained ``weights`` of a model the values of the adapter in the folder ``start``.

    Raises:
        TrainingFailed: it has others than these.
    """
    found = _read(start)
    wanted = {name.replace(".default.", "."): weight for name, weight in weights.items()}
    if {name: value.shape for name, value in found.items()} != {
        name: weight.shape for name, weight in wanted.items()
    }:
        raise _unusable("its weights are for other modules than its configuration names")
    with torch.no_grad():
        for name, weight in wanted.items():
            weight.copy_(found[name])


def _read(start: Path) -> dict[str, torch.Tensor]:
    try:
        found = load_file(start / START_WEIGHTS)
    except (OSError, ValueError, SafetensorError) as error:
        raise _unusable("its weights cannot be read") from error
    return {_PREFIX + name.removeprefix(_PREFIX): value for name, value in found.items()}


def _unusable(why: str) -> TrainingFailed:
    return TrainingFailed("adapter_unusable", f"Training cannot go on from this adapter: {why}.")
