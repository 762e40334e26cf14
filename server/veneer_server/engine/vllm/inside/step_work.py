"""How many tokens of prompts a step may compute on a CPU, beside streams that wait for it to end.

Rule: this file decides and imports nothing of vLLM. A token attends to all that came before it, so
late in a long prompt it costs several times what it costs at the beginning. So a step is bounded
by its work: a unit is what a token costs that attends to nothing. What a unit takes differs tenfold
between processors, so it is measured in the steps themselves.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

ALLOWANCE = 2.0
"""Work of all prompts in a step, in the largest part of a prompt at its beginning. With less a
long prompt takes many more steps; with more the streams wait (tests/bench/LOG.md)."""
ADDED_S = 0.16
"""What all prompts may add to the time of a step, where a machine is too slow for the allowance.
With half of it gaps are a sixth shorter, and long prompts take up to 1.7 times as long
(tests/bench/LOG.md)."""
SHARE = 0.75
"""Part of the largest step for prompts, however short they are."""
LEAST = 16
"""Tokens of a prompt that a step always takes: below, the step costs the same."""
ATTENTION = 2.0
"""What a multiplication of attention costs, where one of a linear layer costs 1 (measured)."""


_REMEMBERED = 9
_ENOUGH = 3
"""Steps, so that one which was disturbed decides nothing."""


@dataclass(frozen=True, slots=True)
class StepBounds:
    """The bounds of one step."""

    prompt_tokens: int
    """Of each prompt."""
    tokens: int
    """Of all requests."""


@dataclass(frozen=True, slots=True)
class StepWork:
    """What steps may do; ``even_at`` is the position at which attention costs as much as the rest.

    ``prompt_tokens`` and ``tokens`` are the bounds of a step while nobody waits for it.
    """

    prompt_tokens: int
    tokens: int
    even_at: float

    def beside(
        self, decoding: int, positions: Sequence[int], affordable: float = math.inf
    ) -> StepBounds:
        """Return the bounds beside ``decoding`` streams; each prompt goes on at its position.

        ``affordable`` is the work that this machine does in the time that a step may take.
        """
        if not decoding or not positions or not self.prompt_tokens:
            return StepBounds(self.prompt_tokens, self.tokens)
        work = max(min(ALLOWANCE * self.prompt_tokens, affordable), LEAST)
        fair = int(work / self.of([1] * len(positions), positions))
        most = min(self.tokens, int(min(SHARE * self.tokens, work)) + decoding)
        return StepBounds(min(self.prompt_tokens, max(fair, LEAST)), most)

    def of(self, tokens: Sequence[int], positions: Sequence[int]) -> float:
        """Return the work of so many ``tokens`` of prompts, each from its position on."""
        return sum(
            count * (1 + at / self.even_at) for count, at in zip(tokens, positions, strict=True)
        )


class StepPace:
    """How long the latest steps beside streams took, with prompts and without."""

    def __init__(self) -> None:
        self._calm_s: deque[float] = deque(maxlen=_REMEMBERED)
        self._unit_s: deque[float] = deque(maxlen=_REMEMBERED)

    def took(self, work: float, seconds: float) -> None:
        """Remember a step that computed so much ``work`` of prompts beside its streams."""
        if not work:
            self._calm_s.append(seconds)
        elif self._calm_s:
            self._unit_s.append(max(seconds - median(self._calm_s), 0) / work)

    @property
    def affordable(self) -> float:
        """The work that adds ``ADDED_S`` to a step; infinite until enough steps are known."""
        if len(self._unit_s) < _ENOUGH:
            return math.inf
        return ADDED_S / max(median(self._unit_s), 1e-9)


def even_position(hidden: int, inner: int, heads: int, kv_heads: int, head_size: int) -> float:
    """Return the position at which a token's attention costs as much as its linear layers.

    All are sizes of one layer: the hidden state, the MLP, the heads of queries and of keys.
    """
    linear = hidden * head_size * (2 * heads + 2 * kv_heads) + 3 * hidden * inner
    return linear / (ATTENTION * 2 * heads * head_size)
