"""What a step learns from: examples, or pairs of a preferred and another answer."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch

from veneer_adapters.faults import fault_point
from veneer_server.training.child.failures import TrainingFailed
from veneer_server.training.child.loss import Losses, Scored, preference_loss, to_batch
from veneer_server.training.child.model import computing
from veneer_server.training.events import EventLog
from veneer_server.training.folder import JobFolder, read_json, replace_json
from veneer_server.training.job import Job
from veneer_server.training.rows.examples import Example
from veneer_server.training.rows.preparing import read_examples, read_rows
from veneer_server.training.rows.rows import Method


@dataclass(frozen=True, slots=True)
class Item:
    """What is learned as one: an example, or a pair of which the first is preferred."""

    examples: tuple[Example, ...]
    reference: float = 0.0
    """Of a pair: how much likelier the reference finds the preferred answer, as a logarithm."""

    @property
    def length(self) -> int:
        """Return the tokens of the longest example."""
        return max(len(example.ids) for example in self.examples)

    @property
    def tokens(self) -> int:
        """Return the tokens of all examples."""
        return sum(len(example.ids) for example in self.examples)


class Objective(Protocol):
    """How items are read and scored."""

    def read(self, path: Path) -> list[Item]:
        """Return the items of a file of prepared rows."""

    def begin(
        self, train: list[Item], valid: list[Item], key: Mapping[str, Any]
    ) -> tuple[list[Item], list[Item]]:
        """Return the items with all that must be known of them before the first step.

        What was found out for the same ``key`` in an earlier run of the job is used again.
        """

    def score(self, items: Sequence[Item]) -> Scored:
        """Return the loss of ``items``."""


def to_objective(job: Job, folder: JobFolder, log: EventLog, model: Any) -> Objective:
    """Return the objective of the job's method."""
    losses = Losses(model)
    if job.method is Method.DPO:
        return Preferences(job, folder, log, model, losses)
    return Answers(job, losses)


class Answers:
    """Each example is learned by itself."""

    def __init__(self, job: Job, losses: Losses) -> None:
        self._device = job.means.device
        self._losses = losses

    def read(self, path: Path) -> list[Item]:
        """Return each example as an item."""
        return [Item((example,)) for example in read_examples(path)]

    def begin(
        self, train: list[Item], valid: list[Item], key: Mapping[str, Any]
    ) -> tuple[list[Item], list[Item]]:
        """Return the items as they are."""
        return train, valid

    def score(self, items: Sequence[Item]) -> Scored:
        """Return the loss over the tokens that count."""
        return self._losses.score(_to_batch(items, self._device))


class Preferences:
    """Direct Preference Optimization.

    The reference is the base itself, the adapter switched off; of a job that goes on from an
    adapter it is that adapter, which the model has at the beginning. What the reference makes of a
    pair never changes, so it is found out once and kept in the folder.
    """

    def __init__(
        self, job: Job, folder: JobFolder, log: EventLog, model: Any, losses: Losses
    ) -> None:
        self._job, self._folder, self._log = job, folder, log
        self._model, self._losses = model, losses

    def read(self, path: Path) -> list[Item]:
        """Return each row as an item.

        Raises:
            TrainingFailed: a row has no pair.
        """
        found = [Item(pair) for pair in read_rows(path)]
        if any(len(item.examples) != 2 for item in found):
            raise TrainingFailed("invalid_training_file", "A row has no pair of answers.")
        return found

    def begin(
        self, train: list[Item], valid: list[Item], key: Mapping[str, Any]
    ) -> tuple[list[Item], list[Item]]:
        """Return the items with their references."""
        known = read_json(self._folder.reference)
        if known is None or known["of"] != key:
            by = "the base" if self._job.start is None else "the adapter it goes on from"
            self._log.say(f"Measuring {len(train) + len(valid)} pairs with {by}, once")
            found = self._refer([*train, *valid])
            known = {"of": key, "train": found[: len(train)], "valid": found[len(train) :]}
            fault_point("training.reference")
            replace_json(self._folder.reference, known, durable=True)
        return _with(train, known["train"]), _with(valid, known["valid"])

    def score(self, items: Sequence[Item]) -> Scored:
        """Return the loss over the pairs."""
        likelier = self._likelier(items)
        references = likelier.new_tensor([item.reference for item in items])
        return preference_loss(likelier, references, self._job.beta)

    def _likelier(self, items: Sequence[Item]) -> torch.Tensor:
        logprobs = self._losses.logprobs(_to_batch(items, self._job.means.device))
        return logprobs[0::2] - logprobs[1::2]

    def _refer(self, items: Sequence[Item]) -> list[float]:
        found, size = [0.0] * len(items), self._job.batch_size
        order = sorted(range(len(items)), key=lambda at: items[at].length)
        self._model.eval()
        goes_on = self._job.start is not None
        reference = nullcontext() if goes_on else self._model.disable_adapter()
        with torch.no_grad(), reference, computing(self._job):
            for start in range(0, len(order), size):
                part = order[start : start + size]
                likelier = self._likelier([items[at] for at in part]).tolist()
                for at, value in zip(part, likelier, strict=True):
                    found[at] = value
        self._model.train()
        return found


def _with(items: list[Item], references: Sequence[float]) -> list[Item]:
    pairs = zip(items, references, strict=True)
    return [replace(item, reference=value) for item, value in pairs]


def _to_batch(items: Sequence[Item], device: str) -> Any:
    return to_batch([example for item in items for example in item.examples], device)
