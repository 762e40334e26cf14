"""The loss of a batch, over the tokens that count; only those go through the output layer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from veneer_server.training.rows.examples import Example

IGNORED = -100
_PROBE_TOKENS = 16
_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class Batch:
    """Examples side by side, padded at the end to the longest."""

    ids: torch.Tensor
    labels: torch.Tensor
    seen: torch.Tensor


@dataclass(frozen=True, slots=True)
class Scored:
    """What came out of one batch."""

    loss: torch.Tensor
    """The mean over the tokens that count."""
    right: int
    """Of how many the model would have chosen the right token."""
    counted: int


def to_batch(examples: Sequence[Example], device: str = "cpu") -> Batch:
    """Return the examples as one batch on ``device``."""
    shape = (len(examples), max(len(example.ids) for example in examples))
    ids = torch.zeros(shape, dtype=torch.long)
    labels = torch.full(shape, IGNORED)
    seen = torch.zeros(shape, dtype=torch.long)
    for row, example in enumerate(examples):
        size = len(example.ids)
        ids[row, :size] = torch.tensor(example.ids)
        seen[row, :size] = 1
        for start, end in example.spans:
            labels[row, start:end] = ids[row, start:end]
    return Batch(ids.to(device), labels.to(device), seen.to(device))


class Losses:
    """Scores batches with one model.

    The output layer is as wide as the vocabulary: to send only the tokens that count through it
    saves a third of the time. A model that does more after its layers (it scales or bends the
    logits) is found by a trial, and is asked for all logits.
    """

    def __init__(self, model: Any) -> None:
        """``model`` is PEFT's, in which the adapter is in place."""
        self._model = model.get_base_model()
        self._direct = self._is_direct()

    def score(self, batch: Batch) -> Scored:
        """Return the loss of ``batch``, with its gradient where one is wanted."""
        wanted = batch.labels[:, 1:] != IGNORED
        goals = batch.labels[:, 1:][wanted]
        logits = self._counted(batch, wanted).float()
        loss = torch.nn.functional.cross_entropy(logits, goals)
        right = int((logits.detach().argmax(-1) == goals).sum())
        return Scored(loss, right, len(goals))

    def _counted(self, batch: Batch, wanted: torch.Tensor) -> torch.Tensor:
        if self._direct:
            return self._output(self._hidden(batch)[:, :-1][wanted])
        found = self._model(input_ids=batch.ids, attention_mask=batch.seen, use_cache=False)
        return found.logits[:, :-1][wanted]

    def _hidden(self, batch: Batch) -> torch.Tensor:
        layers = self._model.get_decoder()
        found = layers(input_ids=batch.ids, attention_mask=batch.seen, use_cache=False)
        hidden: torch.Tensor = found.last_hidden_state
        return hidden

    def _output(self, hidden: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self._model.get_output_embeddings()(hidden)
        return logits

    def _is_direct(self) -> bool:
        vocabulary = self._model.config.get_text_config().vocab_size
        ids = tuple(n * 7919 % vocabulary for n in range(_PROBE_TOKENS))
        device = str(next(self._model.parameters()).device)
        probe = to_batch([Example(ids, ((1, _PROBE_TOKENS),))], device)
        training = self._model.training
        self._model.eval()
        with torch.no_grad():
            whole = self._model(input_ids=probe.ids, attention_mask=probe.seen).logits
            direct = self._output(self._hidden(probe))
        self._model.train(training)
        return bool(torch.allclose(whole, direct, rtol=_TOLERANCE, atol=_TOLERANCE))


def mean_loss(losses: Losses, batches: Sequence[Batch]) -> tuple[float, float]:
    """Return the loss and the share of right tokens over all tokens of ``batches`` that count."""
    total, right, counted = 0.0, 0, 0
    with torch.no_grad():
        for batch in batches:
            scored = losses.score(batch)
            total += scored.loss.item() * scored.counted
            right += scored.right
            counted += scored.counted
    return total / counted, right / counted
