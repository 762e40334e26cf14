"""What this server trains with, or the sentence that says why it cannot."""

import json
from collections.abc import Callable, Set
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from veneer_server.engine import cpu
from veneer_server.engine.base import Engine
from veneer_server.engine.starting import model_on_disk
from veneer_server.settings import Settings
from veneer_server.training.job import Means
from veneer_server.training.jobs.errors import TrainingImpossible
from veneer_server.training.jobs.rules import Base
from veneer_server.training.rows.examples import Renderer

NO_MODEL = "none"
"""What an engine without a model says of how it applies adapters."""
_USUAL_WIDTH = 576


@dataclass(frozen=True, slots=True)
class Trainable:
    """What a server trains with, as long as it can."""

    base: Base
    renderer: Renderer
    means: Means


def find_trainable(
    settings: Settings, engine: Engine, has: Callable[[str], object] = find_spec
) -> Trainable:
    """Return what jobs are trained with; ``has`` finds the installed packages.

    Another trainer brings its own packages, and decides itself what it reads of the base.

    Raises:
        TrainingImpossible: the message says what is missing, and how to get it.
    """
    chosen = settings.training
    folder, width = Path(), _USUAL_WIDTH
    if not chosen.command:
        if engine.lora_op() == NO_MODEL:
            raise TrainingImpossible("The echo engine has no model, so nothing can be trained.")
        if not (has("peft") and has("torch")):
            raise TrainingImpossible(
                "This server cannot train, because the extra 'train' is not installed. Run"
                " 'scripts/install train', or 'pip install veneer[train]', and start it again."
            )
    if engine.lora_op() != NO_MODEL:
        folder, width = _base_folder(settings)
    precision = to_precision(chosen.precision, chosen.device, cpu.instructions())
    means = Means(device=chosen.device, threads=chosen.threads, precision=precision)
    return Trainable(_base(engine, folder, width), engine.rows, means)


def to_precision(
    asked: Literal["auto", "bf16", "fp32"], device: str, instructions: Set[str]
) -> Literal["bf16", "fp32"]:
    """Return what is multiplied in on ``device``, beside a processor with ``instructions``."""
    if asked != "auto":
        return asked
    slow = device == "cpu" and cpu.lacks("bfloat16", instructions)
    return "fp32" if slow else "bf16"


def _base(engine: Engine, folder: Path, width: int) -> Base:
    model, facts = engine.model, engine.facts
    return Base(
        id=model.id,
        # A path of this machine means nothing to whoever gets the adapter.
        trained_for=model.id if Path(model.root).exists() else model.root,
        names=frozenset({model.id, *model.other_names()}),
        folder=folder,
        width=width,
        most_tokens=model.max_model_len,
        most_rank=facts.max_rank,
        modules=frozenset(name.rpartition(".")[2] for name in facts.modules),
    )


def _base_folder(settings: Settings) -> tuple[Path, int]:
    """Return the folder of the base model, and its width."""
    folder, name = model_on_disk(settings)
    try:
        config = json.loads(((folder or Path(name)) / "config.json").read_bytes())
        width = int((config.get("text_config") or config)["hidden_size"])
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise TrainingImpossible(
            "The base model cannot be trained here: its folder has no config.json that says how"
            " wide it is."
        ) from error
    return (folder or Path(name)).resolve(), width
