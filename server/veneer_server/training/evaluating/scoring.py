"""From the log-probabilities of a prompt's tokens to a loss, as the trainer computes it."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from veneer_server.training.rows.examples import Example


class NotScored(Exception):
    """The answer does not say how likely the tokens of its prompt were."""


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums over the tokens that count; they can be added."""

    loss: float = 0.0
    """In nats."""
    right: int = 0
    """Of how many tokens the model would have chosen the right one."""
    counted: int = 0


def score(example: Example, logprobs: Sequence[Mapping[str, Any] | None] | None) -> Sums:
    """Return the sums of an example whose ``prompt_logprobs`` an engine has answered.

    Raises:
        NotScored: a token that counts has none, or none that is a number.
    """
    losses, right = [], 0
    for start, end in example.spans:
        for at in range(start, end):
            found = _at(logprobs, at, example.ids[at])
            losses.append(-found["logprob"])
            right += found.get("rank") == 1
    total = math.fsum(losses)
    if not math.isfinite(total):
        raise NotScored("a log-probability is no number")
    return Sums(total, right, len(losses))


def total(parts: Iterable[Sums]) -> Sums:
    """Return the sum of all."""
    found = list(parts)
    return Sums(
        math.fsum(one.loss for one in found),
        sum(one.right for one in found),
        sum(one.counted for one in found),
    )


def _at(
    logprobs: Sequence[Mapping[str, Any] | None] | None, at: int, token: int
) -> Mapping[str, Any]:
    known = logprobs[at] if logprobs is not None and at < len(logprobs) else None
    found = None if known is None else known.get(str(token))
    if found is None:
        raise NotScored("the engine tells no log-probabilities of a prompt")
    told: Mapping[str, Any] = found
    return told
