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
    right: float = 0
    """Of how many tokens the model would have chosen the right one, or how many pairs it tells
    apart; a tie is half of one."""
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


def likelier(parts: Sequence[Sums]) -> list[float]:
    """Return how much likelier the first answer of each pair was than the second, in nats.

    ``parts`` are the sums of the first answer, of the second, of the first of the next pair, ...
    """
    pairs = zip(parts[0::2], parts[1::2], strict=True)
    return [other.loss - preferred.loss for preferred, other in pairs]


def preference(found: Sequence[float], reference: Sequence[float], beta: float) -> Sums:
    """Return the sums over pairs as the trainer computes them; see ``child.loss``.

    ``found`` says how much likelier the model finds each preferred answer, and ``reference`` how
    much likelier the reference does.
    """
    margins = [beta * (mine - its) for mine, its in zip(found, reference, strict=True)]
    losses = [max(-margin, 0.0) + math.log1p(math.exp(-abs(margin))) for margin in margins]
    right = sum(0.5 if margin == 0 else float(margin > 0) for margin in margins)
    return Sums(math.fsum(losses), right, len(margins))


def _at(
    logprobs: Sequence[Mapping[str, Any] | None] | None, at: int, token: int
) -> Mapping[str, Any]:
    known = logprobs[at] if logprobs is not None and at < len(logprobs) else None
    found = None if known is None else known.get(str(token))
    if found is None:
        raise NotScored("the engine tells no log-probabilities of a prompt")
    told: Mapping[str, Any] = found
    return told
