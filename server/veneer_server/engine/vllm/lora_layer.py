"""One layer's stacks of adapter weights, as both routes read them.

B is kept rank by rank: vLLM allocates ``(slots, 1, out, max_rank)``, and its storage is laid
out anew, once, as ``(slots, 1, max_rank, out)`` behind the same tensor of the same shape. What
vLLM writes into a slot is then in the order the kernel wants, without a copy to keep in step,
and the ranks an adapter does not use are never read.
"""

import weakref
from collections.abc import Mapping, Sequence

import numpy as np
import torch

Ranks = tuple[int, ...]
"""The rank of each slice of one layer; 0 where the adapter leaves the slice alone."""

STORED = {torch.bfloat16: torch.uint16, torch.float32: torch.float32}
"""What the kernel sees instead of a dtype; numpy has no bfloat16."""


def as_stored(tensor: torch.Tensor) -> np.ndarray:
    """Return a numpy view of a tensor of a dtype in ``STORED``; writes go through."""
    return tensor.view(STORED[tensor.dtype]).numpy()


def lay_out_by_rank(lora_b: torch.Tensor) -> None:
    """Make ``out`` the contiguous dimension of a stack of B, which keeps its shape and values.

    Does nothing when it is so already. Views taken before no longer share the storage.
    """
    by_rank = lora_b.transpose(2, 3)
    if not by_rank.is_contiguous():
        with torch.inference_mode(mode=False):
            lora_b.data = by_rank.clone(memory_format=torch.contiguous_format).transpose(2, 3)


class LayerStacks:
    """The stacks of one layer; ``b`` is laid out by rank from construction on."""

    def __init__(self, a: Sequence[torch.Tensor], b: Sequence[torch.Tensor]) -> None:
        self.a = a
        self.b = b
        for stack in b:
            lay_out_by_rank(stack)
        self.width = a[0].shape[3]
        """Columns of the layer's input."""
        self.out = sum(stack.shape[2] for stack in b)
        """Columns of its output, all slices together."""
        self._addresses = self._look_up()
        self._seen: tuple[int, int] | None = None
        self.ranks = np.zeros((len(a[0]), len(a)), np.int64)
        """``(slots, slices)``: the rank to compute, as of ``update_ranks``."""
        self.top_ranks: Ranks = ()
        """The highest of ``ranks`` in each slot."""
        self.stored: tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]] | None = None
        """A and B for the kernel, B as ``(slots, 1, max_rank, out)``; None if it cannot run."""
        dtypes = {stack.dtype for stack in (*a, *b)}
        if len(dtypes) == 1 and dtypes <= STORED.keys() and all(s.is_contiguous() for s in a):
            by_rank = tuple(as_stored(stack.transpose(2, 3)) for stack in b)
            self.stored = tuple(as_stored(stack) for stack in a), by_rank

    def is_current(self) -> bool:
        """Return whether the stacks still have the storage that ``stored`` shows."""
        return self._addresses == self._look_up()

    def update_ranks(self, slot_ids: "SlotIds", learned: "LearnedRanks") -> None:
        """Bring ``ranks`` up to date; a slot is computed at full rank where none is known."""
        now = (slot_ids.version, learned.version)
        if self._seen == now:
            return
        full = tuple(stack.shape[2] for stack in self.a)
        for slot, adapter_id in enumerate(slot_ids.ids):
            self.ranks[slot] = np.minimum(learned.find(adapter_id, id(self.a), full), full)
        self.top_ranks = tuple(self.ranks.max(axis=1).tolist())
        self._seen = now

    def _look_up(self) -> list[int]:
        return [stack.data_ptr() for stack in (*self.a, *self.b)]


class SlotIds:
    """Which adapter each slot holds."""

    def __init__(self) -> None:
        self.ids: list[int | None] = []
        self.version = 0
        """Changes with ``ids``."""

    def update(self, ids: Sequence[int | None]) -> None:
        """Remember ``ids``, the adapter of each slot or None."""
        if self.ids != list(ids):
            self.ids = list(ids)
            self.version += 1


class LearnedRanks:
    """The true ranks of adapters, each believed only while an object of vLLM's is alive."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[weakref.ref[object], Mapping[int, Ranks]]] = {}
        self.version = 0
        """Changes whenever ``find`` may answer differently."""

    def learn(self, adapter_id: int, owner: object, ranks: Mapping[int, Ranks]) -> None:
        """Believe ``ranks``, by ``id`` of a layer's stacks of A, until ``owner`` is gone."""
        alive = {key: known for key, known in self._known.items() if known[0]() is not None}
        self._known = alive | {adapter_id: (weakref.ref(owner, self._forget), ranks)}
        self.version += 1

    def find(self, adapter_id: int | None, layer: int, full: Ranks) -> Ranks:
        """Return the ranks of an adapter in a layer, or ``full`` when nobody told them."""
        if adapter_id not in self._known:
            return full
        owner, ranks = self._known[adapter_id]
        return full if owner() is None else ranks.get(layer, full)

    def _forget(self, _: weakref.ref[object]) -> None:
        self.version += 1
