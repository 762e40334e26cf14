"""A job's folder: who writes which file, and how it is read while it grows.

job.json                   written before the start; see ``job``
events.jsonl               the trainer appends a line for each event; see ``events``
heartbeat.json             the trainer: how far it is, again after each step
result.json                the trainer: how the run ended; absent while it runs
checkpoints/step-N/        complete from the moment it has this name
    adapter/               adapter_config.json and adapter_model.safetensors, to be published
    state/                 what the trainer goes on from; only in the newest checkpoint
reference.json             the trainer, of the method dpo: what the reference makes of each pair
start/                     written before the start: the adapter from which the job goes on
lock                       held while a trainer runs
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PAUSED = {"outcome": "paused"}
"""The result of a run that can go on."""
START_CONFIG, START_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
"""The two files of the adapter in ``start``."""
_STEP = re.compile(r"step-(\d+)")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A complete checkpoint."""

    step: int
    path: Path

    @property
    def adapter(self) -> Path:
        """Return the folder of the two files that can be served."""
        return self.path / "adapter"

    @property
    def state(self) -> Path:
        """Return the folder from which a run goes on; it may be gone."""
        return self.path / "state"


@dataclass(frozen=True, slots=True)
class JobFolder:
    """The places in a job's folder."""

    path: Path

    @property
    def events(self) -> Path:
        """Return the file of events."""
        return self.path / "events.jsonl"

    @property
    def heartbeat(self) -> Path:
        """Return the file that says how far the run is."""
        return self.path / "heartbeat.json"

    @property
    def result(self) -> Path:
        """Return the file that says how the run ended."""
        return self.path / "result.json"

    @property
    def reference(self) -> Path:
        """Return the file that says what the reference makes of each pair."""
        return self.path / "reference.json"

    @property
    def lock(self) -> Path:
        """Return the file that a running trainer has locked."""
        return self.path / "lock"

    @property
    def checkpoints(self) -> Path:
        """Return the folder of the checkpoints."""
        return self.path / "checkpoints"

    def complete(self) -> list[Checkpoint]:
        """Return the complete checkpoints, the oldest first."""
        if not self.checkpoints.is_dir():
            return []
        named = [(match, p) for p in self.checkpoints.iterdir() if (match := _named(p))]
        return sorted(
            (Checkpoint(int(match[1]), path) for match, path in named), key=lambda each: each.step
        )


def read_json(path: Path) -> dict[str, Any] | None:
    """Return what the trainer wrote to ``path``, None if it is not there yet."""
    try:
        found: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    return found


def replace_json(path: Path, shown: Mapping[str, Any], *, durable: bool = False) -> None:
    """Write ``shown`` so that a reader sees the old file or the new one, and never half of it.

    With ``durable`` that holds after a loss of power too.
    """
    new = path.with_name(f".{path.name}.new")
    with new.open("w", encoding="utf-8") as file:
        file.write(json.dumps(shown) + "\n")
        if durable:
            file.flush()
            os.fsync(file.fileno())
    os.replace(new, path)


def step_of(checkpoint: Path) -> int:
    """Return the step of the folder of a complete checkpoint."""
    match = _named(checkpoint)
    if match is None:
        raise ValueError(f"{checkpoint} is no checkpoint")
    return int(match[1])


def _named(path: Path) -> re.Match[str] | None:
    return _STEP.fullmatch(path.name)
