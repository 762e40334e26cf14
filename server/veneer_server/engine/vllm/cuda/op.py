"""LoRA on CUDA: vLLM's wrapper, with linear layers computed by our kernels where they serve.

Everything else stays vLLM's: logits, embeddings, mixtures of experts, its stacks.
The metadata of a batch is made on the CPU and goes over in one copy, without waiting for the GPU.

torch.compile sees one op, ``veneer::lora_linear``, whatever it runs inside. So a compiled model
that was kept from an earlier start fits, whichever kernels are chosen at this one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch.library import Library
from vllm.lora.punica_wrapper.punica_gpu import PunicaWrapperGPU

from veneer_server.engine.vllm.cuda.launch import Device, Launch, launches, layer_of
from veneer_server.engine.vllm.cuda.plans import SMALL, plan_for
from veneer_server.engine.vllm.cuda.tables import Mix, Tables
from veneer_server.engine.vllm.cuda.tiles import find_slots


@dataclass(frozen=True, slots=True)
class Served:
    """Which batches our kernels compute; vLLM's compute the others."""

    small: bool = False
    """Steps of up to ``plans.SMALL`` rows."""
    large: bool = False

    def takes(self, rows: int) -> bool:
        """Return whether our kernels compute a batch of ``rows`` rows."""
        return self.small if rows <= SMALL else self.large


class PunicaWrapperVeneerGPU(PunicaWrapperGPU):
    """The op that vLLM's LoRA layers call on CUDA; until ``serve`` it runs vLLM's kernels."""

    def __init__(
        self, max_num_batched_tokens: int, max_batches: int, device: Any, **kwargs: Any
    ) -> None:
        super().__init__(max_num_batched_tokens, max_batches, device, **kwargs)
        self.tables = Tables(max_num_batched_tokens, self.max_loras, device)
        tokens, samples = vars(self)["token_mapping_meta"], vars(self)["prompt_mapping_meta"]
        self.token_mapping_meta = _over(tokens, self.tables.tokens)
        self.prompt_mapping_meta = _over(samples, self.tables.samples)
        self.served = Served()
        self.rank_of: Callable[[int], int | None] = lambda _: None
        self._facts = _facts_of(device)
        self._part = torch.empty(0, dtype=torch.float32, device=device)
        self._number = next(_NUMBERS)
        _WRAPPERS[self._number] = self

    def serve(self, served: Served, rank_of: Callable[[int], int | None] | None = None) -> None:
        """Choose the kernels from the next launch on; a captured graph keeps those it has.

        ``rank_of`` returns the largest rank in an adapter's weights; None counts as the slot's.
        """
        self.served = served
        self.rank_of = rank_of or self.rank_of

    def make_room(self, layers: Sequence[Any], rows: int) -> None:
        """Allocate the scratch of ``layers`` for batches of up to ``rows`` rows.

        No graph may be captured before: it would keep the address of smaller scratch.
        """
        sizes = [min(SMALL, rows), rows]
        need = max((plan_for(one, n).workspace(one, n) for one in layers for n in sizes), default=0)
        if need > self._part.numel():
            self._part = torch.empty(need, dtype=torch.float32, device=self._part.device)

    def free_room(self) -> None:
        """Give the scratch back, where vLLM's kernels serve."""
        self._part = self._part.new_empty(0)

    def launches(
        self, y: torch.Tensor, x: torch.Tensor, a: list[torch.Tensor], b: list[torch.Tensor]
    ) -> list[Launch]:
        """Return our kernels for the batch that is mapped."""
        return launches(y, x, a, b, self.tables, self._scratch(len(x), a, b), self._facts)

    def update_metadata(
        self,
        mapping: Any,
        lora_index_to_id: list[int | None],
        max_loras: int,
        vocab_size: int,
        **_: Any,
    ) -> None:
        """Describe the next steps' batch; vLLM calls this when the batch or the slots change."""
        self.is_prefill = mapping.is_prefill
        self._update_base_metadata(mapping, lora_index_to_id, max_loras, vocab_size)
        tokens = find_slots(mapping.index_mapping, lora_index_to_id)
        samples = find_slots(mapping.prompt_mapping, lora_index_to_id)
        ranks = {
            slot: rank
            for slot, adapter in enumerate(lora_index_to_id)
            if adapter is not None and (rank := self.rank_of(adapter)) is not None
        }
        self.tables.place(tokens, samples, ranks, self.lora_config.max_lora_rank)
        self.token_mapping_meta.no_lora_flag_cpu[0] = self.tables.no_lora
        self.prompt_mapping_meta.no_lora_flag_cpu[0] = self.tables.no_lora_samples
        self.no_lora = self.tables.no_lora

    def add_lora_linear(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_a_stacked: tuple[torch.Tensor, ...],
        lora_b_stacked: tuple[torch.Tensor, ...],
        scale: float,
        output_slices: tuple[int, ...],
        *,
        buffer: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> None:
        """Add ``B A x``, with each row's own adapter, to ``y`` ``(rows, sum(output_slices))``."""
        a, b = lora_a_stacked, lora_b_stacked
        flat = x.ndim == y.ndim == 2
        if flat and scale == 1.0 and buffer is None and kwargs.get("add_inputs", True):
            torch.ops.veneer.lora_linear(y, x, list(a), list(b), self._number)
        else:
            super().add_lora_linear(y, x, a, b, scale, output_slices, buffer=buffer, **kwargs)

    def add_now(
        self, y: torch.Tensor, x: torch.Tensor, a: list[torch.Tensor], b: list[torch.Tensor]
    ) -> None:
        """Launch what serves a batch of this size."""
        if self.tables.no_lora or not len(x):
            return
        fits = y.stride(1) == 1 and layer_of(a, b).fits
        if not (fits and self.served.takes(len(x))):
            slices = tuple(stack.shape[2] for stack in b)
            super().add_lora_linear(y, x, tuple(a), tuple(b), 1.0, slices)
            return
        wide = x if x.stride(1) == 1 else x.contiguous()
        for launch in self.launches(y, wide, a, b):
            launch.run()

    def _scratch(self, rows: int, a: list[torch.Tensor], b: list[torch.Tensor]) -> torch.Tensor:
        layer = layer_of(a, b)
        if plan_for(layer, rows).workspace(layer, rows) > self._part.numel():
            self.make_room([layer], rows)
        return self._part


def _over(meta: Any, mix: Mix) -> Any:
    """Return vLLM's metadata with its tables in our buffer."""
    return replace(
        meta,
        token_lora_mapping=mix.slot_of_row,
        token_indices_sorted_by_lora_ids=mix.rows,
        active_lora_ids=mix.slots,
        num_tokens_per_lora=mix.counts,
        lora_token_start_loc=mix.firsts,
    )


def _facts_of(device: Any) -> Device:
    if torch.device(device).type != "cuda":
        return Device(processors=2, has_pdl=False, interprets=True)
    facts = torch.cuda.get_device_properties(device)
    return Device(facts.multi_processor_count, has_pdl=facts.major >= 9)


_NUMBERS = count()
_WRAPPERS: WeakValueDictionary[int, PunicaWrapperVeneerGPU] = WeakValueDictionary()
"""The wrappers of this process by number: the language model's is 0. A compiled model keeps the
number, so it must be the same at every start."""


def _lora_linear(
    y: torch.Tensor, x: torch.Tensor, a: list[torch.Tensor], b: list[torch.Tensor], wrapper: int
) -> None:
    _WRAPPERS[wrapper].add_now(y, x, a, b)


def _register() -> Library:
    library = Library("veneer", "FRAGMENT")
    library.define(
        "lora_linear(Tensor(a!) y, Tensor x, Tensor[] a, Tensor[] b, int wrapper) -> ()",
    )
    for key in ("CPU", "CUDA"):
        library.impl("lora_linear", _lora_linear, key)
    library._register_fake("lora_linear", lambda *_: None)
    return library


_LIBRARY = _register()
"""Torch drops an op when its library is collected."""
