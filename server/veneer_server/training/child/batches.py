"""Which examples are in which step. Pure, and the same for the same seed: a run that goes on from
step n needs to know nothing but n.

A batch is padded to its longest example. Little is lost by that, because examples of similar
length share a batch; and no example can see another, which packed rows can on a CPU.
"""

import random
from collections.abc import Sequence

_BATCHES_SORTED_TOGETHER = 8


def batch_at(step: int, lengths: Sequence[int], size: int, seed: int) -> list[int]:
    """Return the indexes of the examples of a step, counted from 0 over all epochs."""
    epoch, index = divmod(step, -(-len(lengths) // size))
    return epoch_batches(epoch, lengths, size, seed)[index]


def epoch_batches(epoch: int, lengths: Sequence[int], size: int, seed: int) -> list[list[int]]:
    """Return the batches of an epoch, counted from 0; every example is in one of them."""
    rng = random.Random(f"{seed}/{epoch}")  # noqa: S311 - an order, not a secret
    deck = rng.sample(range(len(lengths)), len(lengths))
    heap = size * _BATCHES_SORTED_TOGETHER
    # Sorting small heaps saves padding (a third of the time) and keeps the order random.
    for start in range(0, len(deck), heap):
        deck[start : start + heap] = sorted(deck[start : start + heap], key=lengths.__getitem__)
    batches = [deck[start : start + size] for start in range(0, len(deck), size)]
    rng.shuffle(batches)
    return batches
