"""One layer's stacks of adapter weights, as both routes read them.

B is laid out by rank. vLLM allocates ``(slots, 1, out, max_rank)``. This file lays out the storage
again, once, as ``(slots, 1, max_rank, out)`` behind the same tensor of the same shape. Then
everything that vLLM writes into a slot is in the order that the kernel needs. So there is no copy
that could be out of date, and nothing reads the ranks that an adapter does not use.
"""

import weakref
from collections.abc import Mapping, Sequence

import numpy as np
import torch

Ranks = tuple[int, ...]
"""The rank of each slice of one layer; 0 where the adapter does not change the slice."""

SLICES = 3
"""Up to how many slices a layer is filled up with empty ones for the kernel, so that it is compiled
once for nearly all layers, and not for each number of slices."""

STORED = {torch.bfloat16: torch.uint16, torch.float32: torch.float32}
"""The dtype that the kernel gets in place of a torch dtype, because numpy has no bfloat16."""


def as_stored(tensor: torch.Tensor) -> np.ndarray:
    """Return a numpy view of a tensor with a dtype in ``STORED``; writes change the tensor."""
    dtype = STORED[tensor.dtype]
    return (tensor if tensor.dtype == dtype else tensor.view(dtype)).numpy()


def lay_out_by_rank(lora_b: torch.Tensor) -> None:
    """Make ``out`` the contiguous dimension of a stack of B; its shape and values stay the same.

    Do nothing if it is contiguous already. Earlier views do not share the new storage.
    """
    by_rank = lora_b.transpose(2, 3)
    if not by_rank.is_contiguous():
        with torch.inference_mode(mode=False):
            lora_b.data = by_rank.clone(memory_format=torch.contiguous_format).transpose(2, 3)


class LayerStacks:
    """The stacks of one layer. The constructor lays out ``b`` by rank."""

    def __init__(self, a: Sequence[torch.Tensor], b: Sequence[torch.Tensor]) -> None:
        self.a = a
        self.b = b
        for stack in b:
            lay_out_by_rank(stack)
        self.width = a[0].shape[3]
        """Columns of the layer's input."""
        self.out = sum(stack.shape[2] for stack in b)
        """Columns of the layer's output, all slices together."""
        self._addresses = self._look_up()
        self._seen = 0
        self.ranks = np.zeros((len(a[0]), max(len(a), SLICES)), np.int64)
        """``(slots, slices)``: the rank to compute with, since the last ``update_ranks``; 0 for the
        slices that fill the layer up."""
        self.top_ranks: Ranks = ()
        """The highest rank in each slot."""
        self.stored: tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]] | None = None
        """A and B for the kernel, B as ``(slots, 1, max_rank, out)``, filled up to ``SLICES``; None
        where it cannot run."""
        dtypes = {stack.dtype for stack in (*a, *b)}
        if len(dtypes) == 1 and dtypes <= STORED.keys() and all(s.is_contiguous() for s in a):
            by_rank = [as_stored(stack.transpose(2, 3)) for stack in b]
            self.stored = _filled_up([as_stored(stack) for stack in a]), _filled_up(by_rank)

    def is_current(self) -> bool:
        """Return whether the stacks still have the storage that ``stored`` views."""
        return self._addresses == self._look_up()

    def update_ranks(self, known: "SlotRanks") -> None:
        """Bring ``ranks`` up to date; a slot without a known rank gets the full rank."""
        known.refresh()
        if self._seen == known.version:
            return
        full = tuple(stack.shape[2] for stack in self.a)
        for slot in known.changed_since(self._seen):
            found = known.find(slot, id(self.a), full)
            self.ranks[slot, : len(full)] = [min(pair) for pair in zip(found, full, strict=True)]
        self.top_ranks = tuple(self.ranks.max(axis=1).tolist())
        self._seen = known.version

    def _look_up(self) -> list[int]:
        return [stack.data_ptr() for stack in (*self.a, *self.b)]


def _filled_up(stacks: list[np.ndarray]) -> tuple[np.ndarray, ...]:
    nothing = np.zeros((len(stacks[0]), 1, 0, 0), stacks[0].dtype)
    return *stacks, *[nothing] * (SLICES - len(stacks))


_Known = tuple[weakref.ref[object], Mapping[int, Ranks]]


class SlotRanks:
    """The true ranks of the adapters in the slots.

    A rank is used only while an object of vLLM's, its owner, is alive. A change of one slot is
    reported for this slot only, because hundreds of layers follow it inside a step.
    """

    def __init__(self) -> None:
        self.version = 0
        """``refresh`` raises it whenever ``find`` may return something else."""
        self._ids: list[int | None] = []
        self._known: dict[int, _Known] = {}
        self._slots: list[_Known | None] = []
        self._changed: Sequence[int] = ()
        self._stale = False

    def place(self, ids: Sequence[int | None]) -> None:
        """Remember ``ids``: the adapter of each slot, None for an empty one."""
        if self._ids != list(ids):
            self._ids = list(ids)
            self._stale = True

    def learn(self, adapter_id: int, owner: object, ranks: Mapping[int, Ranks]) -> None:
        """Use ``ranks``, by ``id`` of a layer's stacks of A, until ``owner`` is gone."""
        self._known = {key: known for key, known in self._known.items() if known[0]() is not None}
        self._known[adapter_id] = (weakref.ref(owner, self._forget), ranks)
        self._stale = True

    def refresh(self) -> None:
        """Take in what was placed, learned and forgotten since the last call."""
        if not self._stale:
            return
        self._stale = False
        before, now = self._slots, [self._look_up(adapter_id) for adapter_id in self._ids]
        same = len(before) == len(now)
        self._changed = [i for i, new in enumerate(now) if not same or new is not before[i]]
        self._slots = now
        self.version += bool(self._changed)

    def changed_since(self, version: int) -> Sequence[int]:
        """Return the slots that may have other ranks than they had at ``version``."""
        return self._changed if version == self.version - 1 > 0 else range(len(self._slots))

    def find(self, slot: int, layer: int, full: Ranks) -> Ranks:
        """Return the ranks of a slot in a layer, or ``full`` when they are not known."""
        known = self._slots[slot]
        return full if known is None else known[1].get(layer, full)

    def _look_up(self, adapter_id: int | None) -> _Known | None:
        known = None if adapter_id is None else self._known.get(adapter_id)
        return known if known is not None and known[0]() is not None else None

    def _forget(self, _: weakref.ref[object]) -> None:
        self._stale = True
