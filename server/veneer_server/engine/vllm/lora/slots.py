"""Slots in main memory. Any thread may write a slot that is mapped to no adapter, because no step
reads it.

Rule: beyond the rank of the adapter that was written last, a slot holds zeros.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from veneer_adapters.errors import LoadFailed, NoEffect
from veneer_server.engine.vllm.lora.layer import Ranks
from veneer_server.engine.vllm.lora.pack import Array, Packed, PackedPair
from veneer_server.engine.vllm.lora.spans import Span


class Stacks(Protocol):
    """The part of ``layer.LayerStacks`` that slots are made of."""

    @property
    def a(self) -> Sequence[Any]:
        """The stacks of A, one for each slice."""

    @property
    def stored(self) -> tuple[tuple[Array, ...], tuple[Array, ...]] | None:
        """A ``(slots, 1, max_rank, in)`` and B ``(slots, 1, max_rank, out)``, where numpy can."""


@dataclass(frozen=True, slots=True)
class Place:
    """A place for the weights of a module: one slice of one layer's stacks."""

    layer: int
    """``id`` of the layer's stacks of A, which ``SlotRanks`` uses as a key."""
    index: int
    """The slice."""
    a: Array
    """``(slots, max_rank, in)``."""
    b: Array
    """``(slots, max_rank, out)``."""
    columns: slice
    """The module's output columns that this slice computes."""


class SlotWeights:
    """Every slot of one model, as numpy arrays."""

    by_output = False
    """B is laid out by rank; see ``pack``."""

    def __init__(self, layers: Mapping[str, Stacks], spans: Mapping[str, Span]) -> None:
        """Write to ``layers``; ``spans`` says which module goes where. Neither may be empty.

        Raises:
            ValueError: a layer has a layout or dtype that numpy cannot write.
        """
        self._places = {name: _places(layers[span.layer], span) for name, span in spans.items()}
        self._columns = {name: span.shape[1] for name, span in spans.items()}
        some = next(iter(self._places.values()))[0]
        self.stored: np.dtype[Any] = some.a.dtype
        """The dtype that ``pack`` must produce."""
        self._dirty = [0] * len(some.a)
        self._slices = {id(layer.a): len(layer.a) for layer in layers.values()}

    def write(self, slot: int, packed: Packed) -> None:
        """Fill ``slot``, which must not be mapped to an adapter before this returns.

        Raises:
            NoEffect: the adapter changes no module of the model.
            LoadFailed: a module is unknown, or does not fit the slot, which may be half written.
        """
        self._require_known(packed)
        rank = max(len(pair.a) for pair in packed.values())
        dirty, self._dirty[slot] = self._dirty[slot], max(self._dirty[slot], rank)
        for name, places in self._places.items():
            pair = packed.get(name)
            self._require_columns(name, pair)
            for place in places:
                _overwrite(place.a[slot], None if pair is None else pair.a, dirty, name)
                columns = None if pair is None else pair.b[:, place.columns]
                _overwrite(place.b[slot], columns, dirty, name)
        self._dirty[slot] = rank

    def ranks(self, packed: Packed) -> dict[int, Ranks]:
        """Return the rank of each slice by layer; it is 0 where ``packed`` has no weights."""
        found = {layer: [0] * count for layer, count in self._slices.items()}
        for name, pair in packed.items():
            for place in self._places[name]:
                found[place.layer][place.index] = len(pair.a)
        return {layer: tuple(ranks) for layer, ranks in found.items()}

    def _require_known(self, packed: Packed) -> None:
        unknown = packed.keys() - self._places.keys()
        if not unknown:
            return
        if len(unknown) == len(packed):
            raise NoEffect("no tensor of the adapter matches a module of the model")
        raise LoadFailed(f"the model has no module {min(unknown)!r}")

    def _require_columns(self, name: str, pair: PackedPair | None) -> None:
        # Each slice takes only its own columns, so it would not see that there are others.
        if pair is not None and pair.b.shape[1] != self._columns[name]:
            raise LoadFailed(f"the weights of {name!r} do not fit their slot")


def _places(layer: Stacks, span: Span) -> list[Place]:
    if layer.stored is None:
        raise ValueError("the stacks of a layer are not plain arrays")
    a, b = layer.stored
    places, left = [], 0
    for i, width in enumerate(span.widths, span.first):
        columns = slice(left, left + width)
        places.append(Place(id(layer.a), i, a[i][:, 0], b[i][:, 0], columns))
        left += width
    return places


def _overwrite(stack: Array, rows: Array | None, dirty: int, name: str) -> None:
    """Write ``rows`` to the top of ``stack``, and zeros below them down to ``dirty`` rows."""
    rank = 0 if rows is None else len(rows)
    if rows is not None:
        if rank > len(stack) or rows.shape[1] != stack.shape[1]:
            raise LoadFailed(f"the weights of {name!r} do not fit their slot")
        stack[:rank] = rows
    stack[rank:dirty] = 0
