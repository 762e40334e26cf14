"""The loop: steps, figures, checkpoints; from the newest checkpoint, or from the beginning."""

import hashlib
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from veneer_adapters.faults import fault_point
from veneer_server.training.child import checkpoints
from veneer_server.training.child.batches import batch_at
from veneer_server.training.child.failures import TrainingFailed
from veneer_server.training.child.loss import Scored, means
from veneer_server.training.child.model import computing, load, trained
from veneer_server.training.child.objectives import Item, to_objective
from veneer_server.training.child.stopping import Stopper
from veneer_server.training.events import EventLog
from veneer_server.training.folder import PAUSED, START_WEIGHTS, Checkpoint, JobFolder, replace_json
from veneer_server.training.job import Job
from veneer_server.training.recipes import rate_at, steps

_MOST_GRADIENT = 1.0


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run that reached its last step ended."""

    step: int
    trained_tokens: int
    metrics: dict[str, float]


class Loop:
    """One run of one job."""

    def __init__(self, job: Job, folder: JobFolder, log: EventLog, stopper: Stopper) -> None:
        """Read the rows and load the model.

        Raises:
            TrainingFailed: one of both cannot be used.
        """
        self._job, self._folder, self._log, self._stopper = job, folder, log, stopper
        self._recipe = {**job.recipe(), "rows": _digest(job.train)}
        if job.start is not None:
            self._recipe["start"] = _digest(job.start / START_WEIGHTS)
        self._model = load(job)
        self._model.train()
        self._objective = to_objective(job, folder, log, self._model)
        self._items = self._objective.read(job.train)
        if not self._items:
            raise TrainingFailed("invalid_training_file", "There are no rows to learn from.")
        self._held_out = self._objective.read(job.valid) if job.valid else []
        self._lengths = [item.length for item in self._items]
        self._total = steps(len(self._items), job.batch_size, job.epochs)
        self._weights = list(trained(self._model).values())
        self._optimizer = torch.optim.AdamW(self._weights, weight_decay=0.0)
        self._step = self._tokens = 0
        self._saved: Checkpoint | None = None
        self._train: dict[str, float] = {}
        self._metrics: dict[str, float] = {}

    def run(self) -> Ended:
        """Train to the last step, and return what came out; the last checkpoint is written.

        Raises:
            TrainingFailed: the loss is no number any more.
        """
        self._begin()
        while self._step < self._total:
            self._take_step()
            self._beat()
            if self._is_due():
                self._checkpoint()
        return Ended(self._step, self._tokens, self._metrics)

    def _begin(self) -> None:
        found = checkpoints.newest(self._folder, self._recipe)
        if found is None:
            self._log.say("Fine-tuning job started")
        else:
            self._saved, progress = found
            self._step, self._tokens = self._saved.step, progress["trained_tokens"]
            self._train, self._metrics = progress["train"], progress["metrics"]
            self._log.say(f"Fine-tuning job goes on from step {self._step}/{self._total}")
        self._stopper.pause = self._pause
        self._beat()
        self._items, self._held_out = self._objective.begin(
            self._items, self._held_out, self._known_by()
        )
        # Not earlier: the reference of preferences may be the model as it was at the start.
        if self._saved is not None:
            checkpoints.restore(self._saved, self._model, self._optimizer)
        # The process may have ended between the checkpoint and its measurement.
        if self._saved is not None and self._is_due() and not self._metrics:
            self._measure(self._saved)

    def _take_step(self) -> None:
        began = time.monotonic()
        indexes = batch_at(self._step, self._lengths, self._job.batch_size, self._job.seed)
        items = [self._items[index] for index in indexes]
        scored = self._backward(items)
        with self._stopper.steady:
            self._optimizer.step()
            self._step += 1
            self._train = means([scored], "train")
            self._tokens += sum(item.tokens for item in items)
            self._metrics = {}
            fault_point("training.step")
            self._tell(time.monotonic() - began)
        self._optimizer.zero_grad()

    def _backward(self, items: list[Item]) -> Scored:
        # Dropout is the only other thing that is random; so it too depends on the step alone.
        torch.manual_seed(self._job.seed * 1_000_003 + self._step)
        for group in self._optimizer.param_groups:
            group["lr"] = rate_at(self._step, self._total, self._job.learning_rate)
        with computing(self._job):
            scored = self._objective.score(items)
        if not math.isfinite(scored.loss.item()):
            raise TrainingFailed(
                "diverged",
                f"At step {self._step + 1} the loss is no number; try a lower learning rate.",
            )
        scored.loss.backward()
        torch.nn.utils.clip_grad_norm_(self._weights, _MOST_GRADIENT)
        return scored

    def _tell(self, seconds: float) -> None:
        loss = self._train["train_loss"]
        self._log.measure(
            f"Step {self._step}/{self._total}: training loss={loss:.3f}",
            {
                "step": self._step,
                "total_steps": self._total,
                **self._train,
                "seconds": round(seconds, 4),
                "trained_tokens": self._tokens,
            },
        )

    def _is_due(self) -> bool:
        return self._step == self._total or self._step % self._job.checkpoint_steps == 0

    def _checkpoint(self) -> None:
        with self._stopper.steady:
            made = self._save()
        self._measure(made)

    def _measure(self, made: Checkpoint) -> None:
        metrics = {"step": self._step, **self._train, **self._valid()}
        with self._stopper.steady:
            self._metrics = metrics
            # Said first: after a kill between the two it is said again, and never missing.
            self._log.measure(f"Checkpoint created at step {self._step}", metrics)
            checkpoints.note(made, self._progress())

    def _valid(self) -> dict[str, float]:
        if not self._held_out:
            return {}
        size = self._job.batch_size
        ordered = sorted(self._held_out, key=lambda item: item.length)
        parts = [ordered[start : start + size] for start in range(0, len(ordered), size)]
        self._model.eval()
        with torch.no_grad(), computing(self._job):
            found = means(map(self._objective.score, parts), "valid")
        self._model.train()
        return found

    def _pause(self) -> None:
        if self._step and (self._saved is None or self._saved.step != self._step):
            self._save()
        replace_json(self._folder.result, PAUSED)
        self._log.say(f"Paused at step {self._step}/{self._total}")

    def _save(self) -> Checkpoint:
        self._saved = checkpoints.save(
            self._folder, self._step, self._model, self._optimizer, self._progress()
        )
        return self._saved

    def _progress(self) -> dict[str, Any]:
        return {
            "step": self._step,
            "total_steps": self._total,
            "trained_tokens": self._tokens,
            "train": self._train,
            "metrics": self._metrics,
            "recipe": self._recipe,
        }

    def _known_by(self) -> dict[str, Any]:
        held_out = _digest(self._job.valid) if self._job.valid else None
        return {**self._recipe, "held_out": held_out}

    def _beat(self) -> None:
        shown = {"pid": os.getpid(), "at": time.time(), "step": self._step}
        replace_json(self._folder.heartbeat, {**shown, "total_steps": self._total})


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
