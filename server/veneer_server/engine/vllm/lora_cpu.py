"""LoRA on CPU: every row of a batch gets exactly its own adapter, or none.

Rule 1: a row without an adapter is never read or written here.
Rule 2: only slots named by the batch are read. Empty and evicted slots hold stale weights.
Rule 3: rows are grouped by slot once per step, in ``update_metadata``, never per layer.

vLLM's stock CPU op breaks rules 1 and 2: index -1 reads the last slot. docs/adr/0003 has the
measurements behind the shape of this file.

Shapes, as vLLM lays them out: a stack of A is ``(slots, 1, max_rank, in)``, a stack of B is
``(slots, 1, out, max_rank)``, both zero beyond the adapter's own rank; alpha is already in B.
"""

import weakref
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from vllm.lora.punica_wrapper import PunicaWrapperBase

Ranks = tuple[int, ...]
"""The rank of each slice of one layer; 0 where the adapter leaves the slice alone."""


@dataclass(frozen=True, slots=True)
class Groups:
    """The rows of one batch that carry an adapter, gathered slot by slot."""

    rows: torch.Tensor
    """``(n,)`` row numbers, ordered by slot, in batch order within a slot."""
    runs: tuple[tuple[int, int, int], ...]
    """``(slot, start, stop)``: ``rows[start:stop]`` use ``slot``. Slots ascend, no run is empty."""
    span: slice | None
    """Set when ``rows`` is one ascending stretch: a view then replaces gather and scatter."""
    base_rows: int
    """How many rows carry no adapter."""


def group_rows(indices: torch.Tensor) -> Groups:
    """Return the rows of each slot, for ``indices`` ``(rows,)`` of slot numbers, -1 for none."""
    order = torch.argsort(indices, stable=True)
    base_rows = int((indices < 0).sum())
    rows = order[base_rows:]
    slots, counts = torch.unique_consecutive(indices[rows], return_counts=True)
    runs: list[tuple[int, int, int]] = []
    start = 0
    for slot, count in zip(slots.tolist(), counts.tolist(), strict=True):
        runs.append((slot, start, start + count))
        start += count
    return Groups(rows=rows, runs=tuple(runs), span=_find_span(rows), base_rows=base_rows)


def _find_span(rows: torch.Tensor) -> slice | None:
    if not len(rows):
        return None
    first = int(rows[0])
    steps_by_one = bool((rows == torch.arange(first, first + len(rows))).all())
    return slice(first, first + len(rows)) if steps_by_one else None


def gather(x: torch.Tensor, groups: Groups) -> torch.Tensor:
    """Return the grouped rows of ``x``, ``(n, width)``, in float32."""
    picked = x.index_select(0, groups.rows) if groups.span is None else x[groups.span]
    return picked.float()


def scatter_add(y: torch.Tensor, delta: torch.Tensor, groups: Groups) -> None:
    """Add ``delta`` ``(n, width)`` to the grouped rows of ``y``; other rows keep their bits."""
    if groups.span is None:
        y.index_add_(0, groups.rows, delta.to(y.dtype))
    else:
        y[groups.span] += delta.to(y.dtype)


def shrink(x: torch.Tensor, lora_a: torch.Tensor, slot: int, rank: int) -> torch.Tensor:
    """Return ``x @ A.T`` in float32: ``(n, in)`` of one slot's rows to ``(n, rank)``."""
    return torch.mm(x, lora_a[slot, 0, :rank].float().t())


def expand(h: torch.Tensor, lora_b: torch.Tensor, slot: int, out: torch.Tensor) -> None:
    """Write ``h @ B.T`` into ``out``: ``(n, rank)`` of one slot's rows to ``(n, out)``."""
    torch.mm(h, lora_b[slot, 0, :, : h.shape[1]].float().t(), out=out)


def write_delta(
    delta: torch.Tensor,
    x: torch.Tensor,
    lora_a: torch.Tensor,
    lora_b: torch.Tensor,
    groups: Groups,
    ranks: Sequence[int],
) -> None:
    """Fill ``delta`` ``(n, out)`` with ``B A x`` of the grouped rows ``x`` ``(n, in)``.

    ``ranks`` are those of each run's slot; rank 0 gives zeros.
    """
    for (slot, start, stop), rank in zip(groups.runs, ranks, strict=True):
        if rank == 0:
            delta[start:stop].zero_()
        else:
            expand(shrink(x[start:stop], lora_a, slot, rank), lora_b, slot, delta[start:stop])


@dataclass(slots=True)
class MixCounts:
    """Forward passes since the start, by what they mixed. Dummy runs of vLLM count too."""

    steps: int = 0
    adapter_steps: int = 0
    """With at least one adapter."""
    base_beside_adapter_steps: int = 0
    """With rows of the base model beside rows of an adapter."""
    multi_adapter_steps: int = 0
    """With at least two adapters."""

    def observe(self, groups: Groups) -> None:
        """Count one forward pass over ``groups``."""
        self.steps += 1
        self.adapter_steps += bool(groups.runs)
        self.base_beside_adapter_steps += bool(groups.runs) and groups.base_rows > 0
        self.multi_adapter_steps += len(groups.runs) > 1


class PunicaWrapperVeneer(PunicaWrapperBase):
    """What vLLM's LoRA layers call on a CPU. One instance serves every layer of a model."""

    def __init__(
        self, max_num_batched_tokens: int, max_batches: int, device: Any, **_: Any
    ) -> None:
        super().__init__(max_num_batched_tokens, max_batches, device)
        nothing = group_rows(torch.empty(0, dtype=torch.long))
        self._tokens = nothing
        self._samples = nothing
        self._slot_ids: list[int | None] = []
        self._ranks: dict[int, tuple[weakref.ref[Any], Mapping[int, Ranks]]] = {}
        self._first_stack: Sequence[torch.Tensor] | None = None
        self._counts = MixCounts()

    def counts(self) -> dict[str, int]:
        """Return the counters of ``MixCounts`` by name."""
        return asdict(self._counts)

    def learn_ranks(self, adapter_id: int, owner: object, ranks: Mapping[int, Ranks]) -> None:
        """Skip the padding of an adapter: ``ranks`` by ``id`` of each layer's stack of A.

        Believed only while ``owner``, the object the weights were copied from, is alive. An
        adapter or layer nobody spoke of is computed at the full rank of its slot.
        """
        self._ranks = {key: known for key, known in self._ranks.items() if known[0]() is not None}
        self._ranks[adapter_id] = (weakref.ref(owner), ranks)

    def update_metadata(
        self,
        mapping: Any,
        lora_index_to_id: list[int | None],
        max_loras: int,
        vocab_size: int,
        **_: Any,
    ) -> None:
        """Group the rows of the coming steps; vLLM calls this when batch or slots change."""
        self._update_base_metadata(mapping, lora_index_to_id, max_loras, vocab_size)
        self.is_prefill = mapping.is_prefill
        self._slot_ids = list(lora_index_to_id)
        self._tokens = group_rows(self.token_lora_indices)
        self._samples = group_rows(self.sampler_indices)
        self.no_lora = not self._tokens.runs

    def add_lora_linear(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_a_stacked: Sequence[torch.Tensor],
        lora_b_stacked: Sequence[torch.Tensor],
        scale: float,
        output_slices: Sequence[int],
        **_: Any,
    ) -> None:
        """Add each row's own ``B A x`` to ``y`` ``(rows, sum(output_slices))``, in place."""
        self._count(lora_a_stacked)
        groups = self._tokens
        if not groups.runs:
            return
        ranks = self._run_ranks(lora_a_stacked)
        if not any(any(own) for own in ranks):
            return
        picked = gather(x, groups)
        delta = torch.empty(len(picked), sum(output_slices))
        left = 0
        for i, width in enumerate(output_slices):
            columns = delta[:, left : left + width]
            own = [slices[i] for slices in ranks]
            write_delta(columns, picked, lora_a_stacked[i], lora_b_stacked[i], groups, own)
            left += width
        scatter_add(y[:, :left], delta if scale == 1.0 else delta * scale, groups)

    def add_shrink(
        self,
        y: Sequence[torch.Tensor] | torch.Tensor,
        x: torch.Tensor,
        lora_a_stacked: Sequence[torch.Tensor],
        scale: float,
        **_: Any,
    ) -> None:
        """Add each row's own ``A x`` to ``y[slice]`` ``(rows, rank)`` (tensor parallelism)."""
        groups = self._tokens
        if not groups.runs:
            return
        picked = gather(x.view(-1, x.shape[-1]), groups)
        for i, lora_a in enumerate(lora_a_stacked):
            rank = lora_a.shape[2]
            parts = [shrink(picked[a:b], lora_a, slot, rank) for slot, a, b in groups.runs]
            scatter_add(y[i], torch.cat(parts) * scale, groups)

    def add_expand(
        self,
        y: torch.Tensor,
        x: Sequence[torch.Tensor] | torch.Tensor,
        lora_b_stacked: Sequence[torch.Tensor],
        output_slices: Sequence[int],
        offset_start: int = 0,
        add_inputs: bool = True,
        **_: Any,
    ) -> None:
        """Add each row's own ``B x[slice]`` to its columns of ``y`` (tensor parallelism).

        Without ``add_inputs`` the columns are overwritten, with zeros in rows of the base.
        """
        flat = y.view(-1, y.shape[-1])
        left = offset_start
        for i, width in enumerate(output_slices):
            columns = flat[:, left : left + width]
            if not add_inputs:
                columns.zero_()
            self._expand_into(columns, x[i], lora_b_stacked[i], self._tokens)
            left += width

    def add_lora_embedding(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_b_stacked: torch.Tensor,
        add_inputs: bool = True,
        **_: Any,
    ) -> None:
        """Add each row's own ``B x`` to ``y``; ``x`` ``(rows, rank)`` is already looked up in A."""
        if not add_inputs:
            y.zero_()
        self._expand_into(y, x, lora_b_stacked, self._tokens)

    def add_lora_logits(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_a_stacked: torch.Tensor,
        lora_b_stacked: torch.Tensor,
        scale: float,
        **_: Any,
    ) -> None:
        """Add each sampled row's own ``B A x`` to the logits ``y``, in place."""
        groups = self._samples
        if not groups.runs:
            return
        flat = y.view(-1, y.shape[-1])
        h = torch.zeros(len(flat), lora_a_stacked.shape[2])
        picked = gather(x.view(-1, x.shape[-1]), groups)
        for slot, start, stop in groups.runs:
            part = shrink(picked[start:stop], lora_a_stacked, slot, h.shape[1])
            h[groups.rows[start:stop]] = part * scale
        self._expand_into(flat, h, lora_b_stacked, groups)

    def apply_lora_full_linear(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        weight_stacked: torch.Tensor,
        bias_stacked: torch.Tensor,
        module_enabled: torch.Tensor,
    ) -> None:
        """Replace the outputs of rows whose adapter brings its own classification head."""
        own = torch.zeros(len(x), weight_stacked.shape[-2])
        self._expand_into(own, x, weight_stacked, self._samples)
        y.copy_(self._select_full_linear_output(y, own, bias_stacked, module_enabled))

    def _expand_into(
        self, y: torch.Tensor, x: torch.Tensor, weights: torch.Tensor, groups: Groups
    ) -> None:
        if not groups.runs:
            return
        picked = gather(x, groups)
        delta = torch.empty(len(picked), weights.shape[-2])
        stacked = weights if weights.ndim == 4 else weights.unsqueeze(1)
        for slot, start, stop in groups.runs:
            expand(picked[start:stop], stacked, slot, delta[start:stop])
        width = min(y.shape[1], delta.shape[1])  # a padded vocabulary is wider than its LoRA
        scatter_add(y[:, :width], delta[:, :width], groups)

    def _run_ranks(self, stacks: Sequence[torch.Tensor]) -> list[Ranks]:
        full = tuple(stack.shape[2] for stack in stacks)
        found: list[Ranks] = []
        for slot, _, _ in self._tokens.runs:
            owner, known = self._ranks.get(self._slot_ids[slot] or 0, (_gone, {}))
            found.append(full if owner() is None else known.get(id(stacks), full))
        return found

    def _count(self, stacks: Sequence[torch.Tensor]) -> None:
        # vLLM reuses the grouping while nothing changes, so steps show only where work is
        # done: at the model's first LoRA layer, which is also the first that ever called.
        if self._first_stack is None:
            self._first_stack = stacks
        if stacks is self._first_stack:
            self._counts.observe(self._tokens)


def _gone() -> None:
    return None
