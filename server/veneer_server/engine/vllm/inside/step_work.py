"""How many tokens of prompts a step may compute on a CPU, beside streams that wait for it to end.

Rule: this file decides and imports nothing of vLLM. A token attends to all that came before it, so
late in a long prompt it costs several times what it costs at the beginning. So a step is bounded
by its work: a unit is what a token costs that attends to nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

ALLOWANCE = 2.0
"""Work of all prompts in a step, in the largest part of a prompt at its beginning. With less a
long prompt takes many more steps; with more the streams wait (tests/bench/LOG.md)."""
SHARE = 0.75
"""Part of the largest step for prompts, however short they are."""
LEAST = 16
"""Tokens of a prompt that a step always takes: below, the step costs the same."""
ATTENTION = 2.0
"""What a multiplication of attention costs, where one of a linear layer costs 1 (measured)."""


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

    def beside(self, decoding: int, positions: Sequence[int]) -> StepBounds:
        """Return the bounds beside ``decoding`` streams; each prompt goes on at its position."""
        if not decoding or not positions or not self.prompt_tokens:
            return StepBounds(self.prompt_tokens, self.tokens)
        dear = sum(1 + at / self.even_at for at in positions)
        fair = int(ALLOWANCE * self.prompt_tokens / dear)
        most = min(self.tokens, int(SHARE * self.tokens) + decoding)
        return StepBounds(min(self.prompt_tokens, max(fair, LEAST)), most)


def even_position(hidden: int, inner: int, heads: int, kv_heads: int, head_size: int) -> float:
    """Return the position at which a token's attention costs as much as its linear layers.

    All are sizes of one layer: the hidden state, the MLP, the heads of queries and of keys.
    """
    linear = hidden * head_size * (2 * heads + 2 * kv_heads) + 3 * hidden * inner
    return linear / (ATTENTION * 2 * heads * head_size)
