"""Makes a row of a batch come out of the base's linear layers as it would in any other batch.

oneDNN chooses a kernel by the number of rows. On an AMD EPYC it has another one for a single row of
some shapes, so an answer alone was rounded otherwise than the same answer in company. This file
tries each shape of layer once and gives it at least as many rows as it takes for all batches to be
computed alike. tests/bench/LOG.md has the figures.

Rule: ``least_rows`` decides; ``make_steady`` tries and wraps.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

_ROWS = (1, 2, 3, 4, 8, 15, 16, 17, 33, 64, 256)
_FEW_ROWS = (1, 2, 3, 4, 8, 17, 33)
"""For large layers, which take long to try. Most of them is the head, which gets few rows."""
_LARGE = 2**25
_MOST = 8
"""The most rows that a layer is given for a batch of one: each costs time."""

_SIZES = (
    ("input_size_per_partition", "output_size_per_partition"),
    ("embedding_dim", "num_embeddings_per_partition"),
)
"""The attributes of vLLM's layers that have their sizes."""

Linear = Callable[[Any, Any, Any], Any]


def least_rows(alike: Mapping[int, bool]) -> int | None:
    """Return from how many rows on all batches are computed alike; None when it is too many.

    ``alike`` says, for each number of rows that was tried, whether its rows came out as in the
    largest batch.
    """
    unlike = [rows for rows, same in alike.items() if not same]
    found = min((rows for rows in alike if rows > max(unlike, default=0)), default=None)
    return found if found is not None and found <= _MOST else None


def make_steady(model: Any) -> dict[str, int | None]:
    """Wrap every linear layer of ``model`` that needs it.

    Return the rows that each of these gets at least, by its name; None for one that cannot be
    helped.

    Call it when the weights are in their final form.
    """
    known: dict[tuple[int, int], int | None] = {}
    helped: dict[str, int | None] = {}
    for name, layer in model.named_modules():
        compute, shape = getattr(layer, "cpu_linear", None), _shape_of(layer)
        if compute is None or shape is None:
            continue
        if shape not in known:
            known[shape] = least_rows(_try(compute, layer.weight, shape))
        least = known[shape]
        if least != 1:
            helped[name] = least
        if least is not None and least > 1:
            layer.cpu_linear = _with_rows(compute, least)
    return helped


def _shape_of(layer: Any) -> tuple[int, int] | None:
    """Return the inputs and outputs of a linear layer; vLLM may have emptied its weight."""
    for inputs, outputs in _SIZES:
        found = getattr(layer, inputs, None), getattr(layer, outputs, None)
        if isinstance(found[0], int) and isinstance(found[1], int):
            return found[0], found[1]
    return None


def _try(compute: Linear, weight: Any, shape: tuple[int, int]) -> dict[int, bool]:
    sizes: Sequence[int] = _ROWS if shape[0] * shape[1] < _LARGE else _FEW_ROWS
    chance = torch.Generator().manual_seed(5)
    x = torch.randn(sizes[-1], shape[0], generator=chance).to(weight.dtype)
    with torch.inference_mode():
        whole = compute(x, weight, None)
        return {n: torch.equal(compute(x[:n], weight, None), whole[:n]) for n in sizes}


def _with_rows(compute: Linear, least: int) -> Linear:
    def padded(x: Any, weight: Any, bias: Any) -> Any:
        if x.ndim != 2 or len(x) >= least or not len(x):
            return compute(x, weight, bias)
        more = torch.cat([x, x[-1:].expand(least - len(x), -1)])
        return compute(more, weight, bias)[: len(x)]

    return padded
