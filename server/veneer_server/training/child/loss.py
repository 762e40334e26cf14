"""The losses of a batch, over the tokens that count; only those go through the output layer."""

from collections.abc import Iterable, Mapping, Sequence
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
    """The mean over what counts, with its gradient where one is wanted."""
    counted: int
    """How many tokens count, or how many pairs."""
    sums: Mapping[str, float]
    """Other figures, each summed over what counts."""


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
        """Return the loss of the tokens of ``batch`` that count."""
        _, goals, logits = self._look(batch)
        loss = torch.nn.functional.cross_entropy(logits, goals)
        right = int((logits.detach().argmax(-1) == goals).sum())
        return Scored(loss, len(goals), {"mean_token_accuracy": right})

    def logprobs(self, batch: Batch) -> torch.Tensor:
        """Return how likely the tokens that count are together: a logarithm for each example."""
        wanted, goals, logits = self._look(batch)
        each = -torch.nn.functional.cross_entropy(logits, goals, reduction="none")
        return each.new_zeros(len(wanted)).index_add(0, wanted.nonzero()[:, 0], each)

    def _look(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        wanted = batch.labels[:, 1:] != IGNORED
        return wanted, batch.labels[:, 1:][wanted], self._counted(batch, wanted).float()

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


def preference_loss(likelier: torch.Tensor, reference: torch.Tensor, beta: float) -> Scored:
    """Return the loss of pairs. Source: Rafailov et al. 2023, equation 7 (arXiv:2305.18290).

    For each pair ``likelier`` says how much likelier the model finds the preferred answer than the
    other, and ``reference`` how much likelier the base does: differences of logarithms. The margin
    is the difference of both times ``beta``; a pair is right when it is above zero, and half right
    at zero.
    """
    margins = beta * (likelier - reference)
    loss = -torch.nn.functional.logsigmoid(margins).mean()
    found = margins.detach()
    right = ((found.sign() + 1) / 2).sum().item()
    sums = {"reward_accuracy": right, "reward_margin": found.sum().item()}
    return Scored(loss, len(found), sums)


def means(parts: Iterable[Scored], rows: str) -> dict[str, float]:
    """Return each figure as a mean over all of ``parts``; names begin with ``rows``."""
    sums: dict[str, float] = {}
    counted = 0
    for part in parts:
        counted += part.counted
        for name, value in {"loss": part.loss.item() * part.counted, **part.sums}.items():
            sums[name] = sums.get(name, 0.0) + value
    return {f"{rows}_{name}": value / counted for name, value in sums.items()}
