"""Launches the two kernels for one layer and one batch. Thin: ``plans`` decides the sizes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from veneer_server.engine.vllm.cuda import kernels
from veneer_server.engine.vllm.cuda.plans import SLICES, Layer, Plan, plan_for
from veneer_server.engine.vllm.cuda.tables import Tables
from veneer_server.engine.vllm.cuda.tiles import most_tiles

_BUSY = 8
"""Programs of ``shrink`` for each multiprocessor; what is left over they compute in turns."""


@dataclass(frozen=True, slots=True)
class Device:
    """What the launches must know of the device."""

    processors: int
    has_pdl: bool
    """It can begin a kernel before the one before has ended (capability 9.0)."""
    interprets: bool = False
    """Triton's interpreter runs the kernels, without a GPU."""


def layer_of(a: Sequence[torch.Tensor], b: Sequence[torch.Tensor]) -> Layer:
    """Return the layer that has these stacks of A and B."""
    return Layer(a[0].shape[3], tuple(stack.shape[2] for stack in b), a[0].shape[2])


def launches(
    y: torch.Tensor,
    x: torch.Tensor,
    a: Sequence[torch.Tensor],
    b: Sequence[torch.Tensor],
    tables: Tables,
    part: torch.Tensor,
    device: Device,
) -> list["Launch"]:
    """Return what adds ``B A x`` of each row's own adapter to ``y``; ``tables`` are the batch's.

    ``part`` is scratch of at least ``Plan.workspace`` numbers. The same stream must run all of
    this, whatever made ``y`` before, and whatever reads it.
    """
    layer, rows = layer_of(a, b), len(x)
    plan = plan_for(layer, rows)
    tiles = most_tiles(rows, a[0].shape[0], plan.height)
    where = (part, tables.rows, tables.tiles(plan.height))
    strides = (rows * len(b) * layer.padded_rank, len(b) * layer.padded_rank)
    both = {"R": layer.rank, "RP": layer.padded_rank, "S": len(b), "PARTS": plan.parts}
    both |= {"BM": plan.height, "PDL": device.has_pdl, "UP": _must_widen(device, x)}
    return [
        Launch(
            kernels.shrink,
            min(tiles * plan.parts, _BUSY * device.processors),
            (x, *_three(a), *where, x.stride(0), *strides),
            {**both, **_shrink_sizes(layer, plan)},
        ),
        Launch(
            kernels.expand,
            tiles * sum(-(-out // plan.columns) for out in layer.outs),
            (y, *_three(b), *where, y.stride(0), *strides),
            {**both, **_expand_sizes(layer, plan, device)},
        ),
    ]


@dataclass(frozen=True, slots=True)
class Launch:
    """One kernel with its grid and its arguments."""

    kernel: Any
    programs: int
    args: tuple[Any, ...]
    options: dict[str, Any]

    def run(self) -> None:
        """Launch the kernel on the current stream, compiling it if that is not yet done."""
        self.kernel[(self.programs,)](*self.args, **self.options)

    def compile(self) -> None:
        """Compile the kernel and run nothing; any thread may do so."""
        self.kernel.warmup(*self.args, grid=(self.programs,), **self.options)


def _shrink_sizes(layer: Layer, plan: Plan) -> dict[str, Any]:
    sizes = {"K": layer.width, "KP": plan.part, "BK": plan.block_k}
    return {**sizes, "num_warps": plan.shrink_warps, "num_stages": plan.shrink_stages}


def _expand_sizes(layer: Layer, plan: Plan, device: Device) -> dict[str, Any]:
    n0, n1, n2, *_ = (*layer.outs, 0, 0)
    sizes = {"N0": n0, "N1": n1, "N2": n2, "BN": plan.columns}
    early = {"launch_pdl": True} if device.has_pdl else {}
    return {**sizes, "num_warps": plan.expand_warps, "num_stages": 1, **early}


def _must_widen(device: Device, x: torch.Tensor) -> bool:
    return device.interprets and x.dtype == torch.bfloat16


def _three(stacks: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    return [*stacks, *[stacks[0]] * (SLICES - len(stacks))]
