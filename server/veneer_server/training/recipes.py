"""What "auto" means, and how fast is learned. Pure functions.

The rates hold for LoRA with AdamW. The base rate falls with the width of the model: 1e-3 is what
the demo adapters are trained with at a width of 576, and 2e-4 is usual at 4096. Preferences are
learned at a tenth of it: the loss asks for no more than to tell two answers apart, and a model that
is pushed further forgets how to speak.
"""

import math
from dataclasses import dataclass
from typing import Literal

from veneer_server.training.rows.rows import Method

Auto = Literal["auto"]

ENOUGH_STEPS = 80
"""After so many steps the demo adapters have learned what they should."""
MOST_AUTO_EPOCHS = 10
WARM_UP_STEPS = 8
_RATE, _WIDTH, _FALL = 1e-3, 576, 0.8
_LEAST_RATE, _MOST_RATE = 5e-5, 2e-3
_DPO_RATE = 0.1
AUTO_BETA = 0.1


@dataclass(frozen=True, slots=True)
class Hyperparameters:
    """OpenAI's, as numbers."""

    n_epochs: int
    batch_size: int
    learning_rate_multiplier: float
    beta: float | None = None
    """Only of the method ``dpo``."""


def resolve(
    items: int,
    *,
    method: Method = Method.SUPERVISED,
    n_epochs: int | Auto = "auto",
    batch_size: int | Auto = "auto",
    learning_rate_multiplier: float | Auto = "auto",
    beta: float | Auto = "auto",
) -> Hyperparameters:
    """Return numbers for so many ``items``: examples, or pairs of a preferred and another answer.

    "auto" is a batch of at most 8, about 80 steps or more, the base rate, and a beta of 0.1.
    """
    size = auto_batch(items) if batch_size == "auto" else batch_size
    epochs = auto_epochs(items, size) if n_epochs == "auto" else n_epochs
    multiplier = 1.0 if learning_rate_multiplier == "auto" else learning_rate_multiplier
    weight = (AUTO_BETA if beta == "auto" else beta) if method is Method.DPO else None
    return Hyperparameters(epochs, size, multiplier, weight)


def auto_batch(examples: int) -> int:
    """Return 8, or less where an epoch would have fewer than 4 steps."""
    return max(1, min(8, examples // 4))


def auto_epochs(examples: int, batch_size: int) -> int:
    """Return as many epochs as give about 80 steps: at least 1, at most 10."""
    return max(1, min(MOST_AUTO_EPOCHS, math.ceil(ENOUGH_STEPS / steps(examples, batch_size))))


def steps(examples: int, batch_size: int, epochs: int = 1) -> int:
    """Return how many steps so many epochs have; the last batch of an epoch may be small."""
    return math.ceil(examples / batch_size) * epochs


def base_rate(width: int, method: Method = Method.SUPERVISED) -> float:
    """Return the learning rate for a model whose hidden states have ``width`` numbers."""
    rate: float = min(_MOST_RATE, max(_LEAST_RATE, _RATE * (_WIDTH / width) ** _FALL))
    return rate * _DPO_RATE if method is Method.DPO else rate


def rate_at(step: int, total: int, peak: float) -> float:
    """Return the rate of a step, from 0: it rises linearly at first, then falls like a cosine."""
    warm_up = min(WARM_UP_STEPS, max(1, total // 4))
    if step < warm_up:
        return peak * (step + 1) / warm_up
    done = (step - warm_up) / max(1, total - warm_up)
    return peak * 0.5 * (1 + math.cos(math.pi * done))
