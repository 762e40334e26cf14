"""LoRA on a CPU: every row of a batch gets exactly its own adapter, or none.

Rule 1: this file never reads or writes a row without an adapter.
Rule 2: it reads only slots that the batch names. Empty and evicted slots hold old weights.
Rule 3: weights have one copy, vLLM's own stacks, so no copy can outlive an adapter.

vLLM's own CPU op breaks rules 1 and 2: its index -1 reads the last slot. docs/adr/0003 has the
measurements behind the design of this file.

Shapes are vLLM's: a stack of A is ``(slots, 1, max_rank, in)``, and a stack of B is
``(slots, 1, out, max_rank)``. Both are zero beyond the adapter's own rank. B includes alpha.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from vllm.config import get_current_vllm_config_or_none
from vllm.lora.punica_wrapper import PunicaWrapperBase

from veneer_server.engine.vllm.lora.gemm import (
    add_products,
    expand,
    gather,
    scatter_add,
    shrink,
)
from veneer_server.engine.vllm.lora.layer import STORED, LayerStacks, Ranks, SlotRanks, as_stored
from veneer_server.engine.vllm.lora.rows import Groups, MixCounts, Routes, choose_routes, group_rows
from veneer_server.engine.vllm.lora.threads import find_kernel

__all__ = ["PunicaWrapperVeneer", "Ranks"]


class PunicaWrapperVeneer(PunicaWrapperBase):
    """The op that vLLM's LoRA layers call on a CPU. One instance serves all layers of a model."""

    def __init__(
        self,
        max_num_batched_tokens: int,
        max_batches: int,
        device: Any,
        *,
        lora_config: Any = None,
        **_: Any,
    ) -> None:
        super().__init__(max_num_batched_tokens, max_batches, device)
        nothing = group_rows(torch.empty(0, dtype=torch.long))
        self._tokens = nothing
        self._samples = nothing
        self._routes: dict[tuple[Ranks, float], Routes] = {}
        self._slot_ranks = SlotRanks()
        self._layers: dict[int, LayerStacks] = {}
        self._first_stack: Sequence[torch.Tensor] | None = None
        self._counts = MixCounts()
        weights = lora_config.lora_dtype if lora_config is not None else None
        self._kernel = find_kernel(_dtype_of_rows() or weights, weights)

    @property
    def kernel(self) -> str:
        """Return what computes the rows of a decode step: ``numba``, or ``torch`` without numba."""
        return "torch" if self._kernel is None else "numba"

    def counts(self) -> dict[str, int]:
        """Return the counters of ``MixCounts`` by name."""
        return asdict(self._counts)

    def learn_ranks(self, adapter_id: int, owner: object, ranks: Mapping[int, Ranks]) -> None:
        """Compute an adapter with its true ranks: ``ranks`` by ``id`` of each layer's stacks of A.

        The ranks are used only while ``owner``, vLLM's object for the adapter, is alive. An adapter
        or layer without known ranks is computed with the full rank of its slot.
        """
        self._slot_ranks.learn(adapter_id, owner, ranks)

    def arrange(self, a: Sequence[torch.Tensor], b: Sequence[torch.Tensor]) -> LayerStacks:
        """Lay out a layer's stacks now and not at its first batch; a second call does nothing."""
        known = self._layers.get(id(a))
        if known is None or known.b is not b or not known.is_current():
            known = self._layers[id(a)] = LayerStacks(a, b)
        return known

    def update_metadata(
        self,
        mapping: Any,
        lora_index_to_id: list[int | None],
        max_loras: int,
        vocab_size: int,
        **_: Any,
    ) -> None:
        """Group the rows of the next steps; vLLM calls this when the batch or the slots change."""
        self._update_base_metadata(mapping, lora_index_to_id, max_loras, vocab_size)
        self.is_prefill = mapping.is_prefill
        self._slot_ranks.place(lora_index_to_id)
        self._tokens = group_rows(self.token_lora_indices)
        self._samples = group_rows(self.sampler_indices)
        self._routes.clear()
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
        """Add ``B A x``, with each row's own adapter, to ``y`` ``(rows, sum(output_slices))``.

        Raises:
            IndexError: the batch of the last ``update_metadata`` had more rows than this one.
        """
        self._count(lora_a_stacked)
        if not self._tokens.runs:
            return
        rows = min(x.shape[0], y.shape[0])  # len() takes three times as long
        if rows < self._tokens.extent:
            # The kernel would write past the end, and a slice would silently stop at the end.
            raise IndexError(f"{rows} rows, but the batch has at least {self._tokens.extent}")
        layer = self.arrange(lora_a_stacked, lora_b_stacked)
        layer.update_ranks(self._slot_ranks)
        suits = scale == 1.0 and self._suits_kernel(y, x, layer)
        # Which route a row takes must not depend on who else is in the batch: they round otherwise.
        routes = self._choose(layer.top_ranks, math.inf if suits else 0)
        if len(routes.short):
            self._run_kernel(y, x, layer, routes)
        if routes.long.runs:
            add_products(y, x, layer, routes.long, scale)

    def _suits_kernel(self, y: torch.Tensor, x: torch.Tensor, layer: LayerStacks) -> bool:
        return (
            self._kernel is not None
            and layer.stored is not None
            and x.dtype == y.dtype
            and x.dtype in STORED
            and x.is_contiguous()
            and y.is_contiguous()
            and x.shape[1] == layer.width
            and y.shape[1] >= layer.out
        )

    def _choose(self, ranks: Ranks, long_work: float) -> Routes:
        key = (ranks, long_work)
        if key not in self._routes:
            self._routes[key] = choose_routes(self._tokens, ranks, long_work)
        return self._routes[key]

    def _run_kernel(
        self, y: torch.Tensor, x: torch.Tensor, layer: LayerStacks, routes: Routes
    ) -> None:
        # _suits_kernel has checked both.
        assert self._kernel is not None  # noqa: S101
        assert layer.stored is not None  # noqa: S101
        a, b = layer.stored
        self._kernel(as_stored(y), as_stored(x), routes.rows, routes.short, layer.ranks, a, b)

    def add_shrink(
        self,
        y: Sequence[torch.Tensor] | torch.Tensor,
        x: torch.Tensor,
        lora_a_stacked: Sequence[torch.Tensor],
        scale: float,
        **_: Any,
    ) -> None:
        """Add ``A x``, with each row's own A, to ``y[slice]`` ``(rows, rank)``.

        vLLM calls this with tensor parallelism.
        """
        groups = self._tokens
        if not groups.runs:
            return
        picked = gather(x.view(-1, x.shape[-1]), groups).float()
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
        """Add ``B x[slice]``, with each row's own B, to its columns of ``y``.

        vLLM calls this with tensor parallelism. Without ``add_inputs`` the columns are
        overwritten; rows of the base model get zeros.
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
        """Add ``B x``, with each row's own B, to ``y``; ``x`` ``(rows, rank)`` comes from A."""
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
        """Add ``B A x``, with each sampled row's own adapter, to the logits ``y``, in place."""
        groups = self._samples
        if not groups.runs:
            return
        flat = y.view(-1, y.shape[-1])
        h = torch.zeros(len(flat), lora_a_stacked.shape[2])
        picked = gather(x.view(-1, x.shape[-1]), groups).float()
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
        """Replace the outputs of the rows whose adapter has its own classification head."""
        own = torch.zeros(len(x), weight_stacked.shape[-2])
        self._expand_into(own, x, weight_stacked, self._samples)
        y.copy_(self._select_full_linear_output(y, own, bias_stacked, module_enabled))

    def _expand_into(
        self, y: torch.Tensor, x: torch.Tensor, weights: torch.Tensor, groups: Groups
    ) -> None:
        if not groups.runs:
            return
        picked = gather(x, groups).float()
        delta = torch.empty(len(picked), weights.shape[-2])
        stacked = weights if weights.ndim == 4 else weights.unsqueeze(1)
        for slot, start, stop in groups.runs:
            expand(picked[start:stop], stacked, slot, delta[start:stop])
        width = min(y.shape[1], delta.shape[1])  # a padded vocabulary is wider than its LoRA
        scatter_add(y[:, :width], delta[:, :width], groups)

    def _count(self, stacks: Sequence[torch.Tensor]) -> None:
        # vLLM keeps the grouping while nothing changes, so it does not show a step. A step shows
        # at the model's first LoRA layer, which is the layer that called first.
        if self._first_stack is None:
            self._first_stack = stacks
        if stacks is self._first_stack:
            self._counts.observe(self._tokens)


def _dtype_of_rows() -> torch.dtype | None:
    """Return the dtype in which the model computes that vLLM loads now; None outside of a load."""
    config = get_current_vllm_config_or_none()
    return None if config is None or config.model_config is None else config.model_config.dtype
