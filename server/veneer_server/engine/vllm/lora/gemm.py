"""The LoRA products in torch: two matrix products in float32 for each adapter and slice.

Rows take this route where the kernel of ``lora.kernel`` cannot run.
"""

from collections.abc import Sequence

import torch

from veneer_server.engine.vllm.lora.layer import LayerStacks
from veneer_server.engine.vllm.lora.rows import Groups


def gather(x: torch.Tensor, groups: Groups) -> torch.Tensor:
    """Return the grouped rows of ``x``, ``(n, width)``, as a view where that is possible."""
    return x.index_select(0, groups.rows) if groups.span is None else x[groups.span]


def scatter_add(y: torch.Tensor, delta: torch.Tensor, groups: Groups) -> None:
    """Add float32 ``delta`` ``(n, width)`` to the grouped rows of ``y``; others do not change.

    The sums are in float32, and each is rounded once.
    """
    rows = groups.rows if groups.span is None else groups.span
    y[rows] = (y[rows].float() + delta).to(y.dtype)


def shrink(x: torch.Tensor, lora_a: torch.Tensor, slot: int, rank: int) -> torch.Tensor:
    """Return ``x @ A.T`` ``(n, rank)`` in the dtype of ``x``: the rows ``(n, in)`` of one slot."""
    return torch.mm(x, lora_a[slot, 0, :rank].to(x.dtype).t())


def expand(h: torch.Tensor, lora_b: torch.Tensor, slot: int, out: torch.Tensor) -> None:
    """Write ``h @ B.T`` into ``out`` ``(n, out)``, for the rows ``h`` ``(n, rank)`` of one slot."""
    torch.mm(h, lora_b[slot, 0, :, : h.shape[1]].to(h.dtype).t(), out=out)


def add_products(
    y: torch.Tensor, x: torch.Tensor, layer: LayerStacks, groups: Groups, scale: float
) -> None:
    """Add ``B A x`` to the grouped rows of ``y`` ``(rows, sum of out)``, in place."""
    most = max((stop - start) * layer.top_ranks[slot] for slot, start, stop in groups.runs)
    if most == 0:
        return
    picked = gather(x, groups).float()
    widths = [stack.shape[2] for stack in layer.b]
    delta = torch.empty(len(picked), sum(widths), dtype=picked.dtype)
    own = layer.ranks[[slot for slot, _, _ in groups.runs]]
    for i, columns in enumerate(delta.split(widths, dim=1)):
        write_delta(columns, picked, layer.a[i], layer.b[i], groups, own[:, i].tolist())
    scatter_add(y[:, : sum(widths)], delta if scale == 1.0 else delta * scale, groups)


def write_delta(
    delta: torch.Tensor,
    x: torch.Tensor,
    lora_a: torch.Tensor,
    lora_b: torch.Tensor,
    groups: Groups,
    ranks: Sequence[int],
) -> None:
    """Fill ``delta`` ``(n, out)`` with ``B A x`` of the grouped rows ``x`` ``(n, in)``.

    ``ranks`` has the rank of each run's slot; a rank of 0 gives zeros.
    """
    for (slot, start, stop), rank in zip(groups.runs, ranks, strict=True):
        if rank == 0:
            delta[start:stop].zero_()
        else:
            expand(shrink(x[start:stop], lora_a, slot, rank), lora_b, slot, delta[start:stop])
