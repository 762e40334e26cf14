"""The largest rank that an adapter's weights have."""

from typing import Any
from weakref import WeakKeyDictionary

import torch


class Ranks:
    """The ranks of the adapters that vLLM's ``LoRAModelManager`` has; each is found once."""

    def __init__(self, slots: Any) -> None:
        self._slots = slots
        self._known: WeakKeyDictionary[Any, int] = WeakKeyDictionary()

    def rank_of(self, adapter: int) -> int | None:
        """Return the largest rank, or None where the weights do not show it."""
        model = self._slots._registered_adapters.get(adapter)
        if model is None:
            return None
        if model not in self._known:
            self._known[model] = _largest(model)
        return self._known[model] or None


def _largest(model: Any) -> int:
    """Return the largest rank, 0 if any weight is not a plain pair of matrices."""
    if not model.loras:
        return int(model.rank)  # packed by us: vLLM has no weights of it
    ranks = [0]
    for weights in model.loras.values():
        parts = weights.lora_a if isinstance(weights.lora_a, list) else [weights.lora_a]
        for a in (one for one in parts if one is not None):
            if not isinstance(a, torch.Tensor) or a.ndim != 2:
                return 0
            ranks.append(a.shape[0])
    return max(ranks)
