"""Makes a row of a batch come out of the base's linear layers as it would in any other batch.

oneDNN chooses a kernel by the number of rows that a thread gets. In bfloat16 a single row has one
of its own, on Intel and on AMD, and an odd batch may leave one for the last thread. It rounds one
output of some thousands otherwise, and so an answer alone was another than in company. This file
tries each shape of layer once and gives it a number of rows with which all batches are computed
alike. tests/bench/LOG.md has the figures.

Rule: ``row_multiple`` and ``is_worth_it`` decide; ``make_steady`` tries and wraps.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

_ROWS = (1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 33, 64)
_OUTPUTS = 2**18
"""About how many outputs are compared for each of them. One in ten thousand may be unlike."""
_FEWEST, _MOST = 16, 96
"""The fewest and the most rows that are tried. A large layer has many outputs in few rows."""
_MULTIPLES = (1, 2, 4, 8)
"""To a multiple of one of these a batch is filled up; more would cost too much."""
_LONGEST = 2.0
"""How much longer a single row may take: answers that are the same in any company may cost half
the speed, and no more."""
_TRIES = 10

_SIZES = (
    ("input_size_per_partition", "output_size_per_partition"),
    ("embedding_dim", "num_embeddings_per_partition"),
)
"""The attributes of vLLM's layers that have their sizes."""

Linear = Callable[[Any, Any, Any], Any]


@dataclass(frozen=True, slots=True)
class Tried:
    """What a shape of layers needs, and how long one row takes as it is and filled up."""

    multiple: int | None
    plain_s: float
    filled_s: float


def row_multiple(alike: Mapping[int, bool]) -> int | None:
    """Return a number of which every multiple is computed alike; None when it is too large.

    ``alike`` says, for each number of rows that was tried, whether its rows came out as in the
    largest batch.
    """

    def suits(multiple: int) -> bool:
        return all(same for rows, same in alike.items() if rows % multiple == 0)

    return next(filter(suits, _MULTIPLES), None)


def is_worth_it(layers: Iterable[Tried]) -> bool:
    """Return whether a step of one row stays fast enough when every layer is filled up."""
    known = list(layers)
    return sum(t.filled_s for t in known) <= _LONGEST * sum(t.plain_s for t in known)


def make_steady(model: Any) -> dict[str, int | None]:
    """Wrap every linear layer of ``model`` that needs it.

    Return of how many rows each of these gets a multiple, by its name; None for one that cannot be
    helped, and for all when that would cost too much.

    Call it when the weights are in their final form.
    """
    known: dict[tuple[int, int], Tried] = {}
    layers: dict[str, tuple[Any, Tried]] = {}
    for name, layer in model.named_modules():
        compute, shape = getattr(layer, "cpu_linear", None), _shape_of(layer)
        if compute is None or shape is None:
            continue
        if shape not in known:
            known[shape] = _try(compute, layer.weight, shape)
        layers[name] = layer, known[shape]
    unsteady = {name: found for name, found in layers.items() if found[1].multiple != 1}
    if not is_worth_it(tried for _, tried in layers.values()):
        return dict.fromkeys(unsteady)
    for layer, tried in unsteady.values():
        if tried.multiple is not None:
            layer.cpu_linear = _filled_up(layer.cpu_linear, tried.multiple)
    return {name: tried.multiple for name, (_, tried) in unsteady.items()}


def _shape_of(layer: Any) -> tuple[int, int] | None:
    """Return the inputs and outputs of a linear layer; vLLM may have emptied its weight."""
    for inputs, outputs in _SIZES:
        found = getattr(layer, inputs, None), getattr(layer, outputs, None)
        if isinstance(found[0], int) and isinstance(found[1], int):
            return found[0], found[1]
    return None


def _try(compute: Linear, weight: Any, shape: tuple[int, int]) -> Tried:
    most = max(_FEWEST, min(_MOST, _OUTPUTS // shape[1]))
    chance = torch.Generator().manual_seed(5)
    x = torch.randn(most, shape[0], generator=chance).to(weight.dtype)
    with torch.inference_mode():
        whole = compute(x, weight, None)
        alike = {n: _is_alike(compute, x, weight, whole, n) for n in _ROWS if n <= most}
        multiple = row_multiple(alike)
        plain_s, filled_s = (_time(compute, x[:n], weight) for n in (1, multiple or 1))
    return Tried(multiple, plain_s, plain_s if multiple == 1 else filled_s)


def _is_alike(compute: Linear, x: Any, weight: Any, whole: Any, rows: int) -> bool:
    """Return whether every ``rows`` rows of ``x`` come out as they do in ``whole``."""
    starts = range(0, len(x) - rows + 1, rows)
    return all(
        torch.equal(compute(x[at : at + rows], weight, None), whole[at : at + rows])
        for at in starts
    )


def _time(compute: Linear, x: Any, weight: Any) -> float:
    took = []
    for _ in range(_TRIES):
        began = time.perf_counter()
        compute(x, weight, None)
        took.append(time.perf_counter() - began)
    return min(took)


def _filled_up(compute: Linear, multiple: int) -> Linear:
    def filled(x: Any, weight: Any, bias: Any) -> Any:
        missing = -len(x) % multiple
        if x.ndim != 2 or not missing:
            return compute(x, weight, bias)
        more = torch.cat([x, x[-1:].expand(missing, -1)])
        return compute(more, weight, bias)[: len(x)]

    return filled
