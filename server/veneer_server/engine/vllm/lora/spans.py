"""Where the weights of each module of an adapter go: into which slices of which of vLLM's layers.

PEFT names the modules of the Transformers model, one pair of matrices each. vLLM computes some
modules together, so its layers have slices. A module takes one slice (``q_proj`` of vLLM's
``qkv_proj``), or several (``qkv_proj`` as one module): then each slice gets all of A, and its own
rows of B.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

Shape = tuple[int, int]
"""``(in_features, out_features)``."""


@dataclass(frozen=True, slots=True)
class Span:
    """The slices of one layer that one module takes; they are neighbours."""

    layer: str
    """vLLM's name of the layer."""
    first: int
    widths: tuple[int, ...]
    """The columns of the output of each slice."""
    inputs: int

    @property
    def shape(self) -> Shape:
        """The shape of the module."""
        return self.inputs, sum(self.widths)


def split_layer(
    layer: str, parts: Sequence[str], inputs: int, widths: Sequence[int], known: Mapping[str, int]
) -> dict[str, Span]:
    """Return the span of each of the modules ``parts`` of which vLLM made ``layer``.

    ``widths`` are the layer's slices; ``known`` has the output columns of modules, by name. They
    are needed only where there are fewer modules than slices. Without them, or if they do not fit,
    the result is {}: no adapter may change this layer.
    """
    if len(parts) == 1:
        return {parts[0]: Span(layer, 0, tuple(widths), inputs)}
    spans: dict[str, Span] = {}
    at = 0
    for part in parts:
        count = 1 if len(parts) == len(widths) else _slices_of(known.get(part), widths[at:])
        spans[part] = Span(layer, at, tuple(widths[at : at + count]), inputs)
        at += count
    return spans if at == len(widths) and all(span.widths for span in spans.values()) else {}


def _slices_of(columns: int | None, widths: Sequence[int]) -> int:
    """Return how many of the first ``widths`` add up to ``columns``; 0 if none do."""
    sums = [sum(widths[:count]) for count in range(len(widths) + 1)]
    return sums.index(columns) if columns in sums else 0


def name_spans(
    spans: Mapping[str, Span],
    trained: Mapping[str, Shape] | None,
    rename: Callable[[str], str | None],
) -> dict[str, Span]:
    """Return the spans by the names that PEFT gives the modules.

    ``trained`` are the linear modules of the Transformers model, and ``rename`` returns vLLM's name
    of one, or None. A module whose shape differs from its span's is left out, and so are two that
    would go to the same place. Without ``trained`` the names of vLLM's that need no change count.
    """
    if trained is None:
        return {name: span for name, span in spans.items() if rename(name) == name}
    targets = {name: rename(name) for name in trained}
    taken = _more_than_once(targets.values())
    found = {}
    for name, target in targets.items():
        span = spans.get(target) if target is not None and target not in taken else None
        if span is not None and span.shape == trained[name]:
            found[name] = span
    return found


def _more_than_once(names: Iterable[str | None]) -> set[str]:
    seen, again = set[str](), set[str]()
    for name in names:
        if name is not None:
            (again if name in seen else seen).add(name)
    return again
