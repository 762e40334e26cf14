"""Does an adapter fit this base model, and does it change anything?

An adapter must pass these checks before it serves. The engine checks less than this file does: it
silently accepts NaN, the tensors of a smaller base, and layers that do not exist.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import BinaryIO

from veneer_adapters.artifact.compression import MOST_RANK, is_compressible, measure
from veneer_adapters.artifact.manifest import BaseFacts, Manifest, Pair, open_weights, read_artifact
from veneer_adapters.artifact.opening import Place
from veneer_adapters.artifact.tensors import peak
from veneer_adapters.artifact.values import LARGEST
from veneer_adapters.errors import (
    BaseMismatch,
    InvalidConfig,
    NoEffect,
    NonFinite,
    OnFault,
    RankTooLarge,
    UnsupportedFeature,
    quoted,
    raise_it,
)

MAX_SCALING = 1e3
"""The largest accepted alpha / rank; trained adapters have a few hundredths to a few tens."""

_EXPERTS = ".experts."
"""Part of the name of each expert of a mixture."""


def verify(folder: Place, facts: BaseFacts) -> Manifest:
    """Return the facts of the adapter in ``folder`` when it can be served.

    Reads every byte of the weights, so call it in a background thread, never on the event loop.

    Raises:
        AdapterRejected: the leaf says what is wrong.
    """
    artifact = read_artifact(folder)
    check_rank(artifact.manifest.rank, facts)
    check_shapes(artifact.pairs, facts)
    with open_weights(folder) as file:
        check_values(file, artifact.pairs, artifact.config.scaling_of, facts)
        if is_compressible(artifact.manifest.rank, facts):
            measure(file, artifact, facts)
    check_scaling(artifact.pairs, artifact.config.scaling_of)
    return artifact.manifest


def check_rank(rank: int, facts: BaseFacts, on_fault: OnFault = raise_it) -> None:
    """Give ``on_fault`` a ``RankTooLarge`` when ``rank`` is above ``facts.max_rank``.

    A rank that may be compressed is left to ``compression.measure``.
    """
    if rank <= facts.max_rank or is_compressible(rank, facts):
        return
    on_fault(
        RankTooLarge(
            f"The adapter has rank {rank}; this server takes ranks up to {facts.max_rank}"
            f"{_or_compresses(facts)}. A start with a higher adapters.max_rank takes it."
        )
    )


def check_shapes(pairs: Mapping[str, Pair], facts: BaseFacts, on_fault: OnFault = raise_it) -> None:
    """Give ``on_fault`` each module that the base does not have, or has in another shape.

    The fault is ``NoEffect`` when none of the modules is in the base, else ``BaseMismatch``, or
    ``UnsupportedFeature`` for experts of a mixture that this engine cannot change.
    """
    if not facts.modules:
        return
    if any(_EXPERTS in module for module in pairs.keys() - facts.modules.keys()):
        on_fault(UnsupportedFeature(_say_experts(pairs.keys() - facts.modules.keys())))
        pairs = {module: pair for module, pair in pairs.items() if _EXPERTS not in module}
    elif not pairs.keys() & facts.modules.keys():
        on_fault(NoEffect("None of the modules that the adapter changes is in the base model."))
        return
    for module, pair in pairs.items():
        _check_shape(module, pair, facts.modules, on_fault)


def check_scaling(
    modules: Iterable[str], scaling_of: Callable[[str], float], on_fault: OnFault = raise_it
) -> None:
    """Give ``on_fault`` each module whose product B·A is scaled by more than ``MAX_SCALING``."""
    for module in modules:
        scaling = scaling_of(module)
        if scaling > MAX_SCALING:
            on_fault(
                InvalidConfig(
                    f"The weights of {quoted(module)} are scaled by {scaling:.3g};"
                    f" at most {MAX_SCALING:g} is accepted."
                )
            )


def check_values(
    file: BinaryIO,
    pairs: Mapping[str, Pair],
    scaling_of: Callable[[str], float],
    facts: BaseFacts,
    on_fault: OnFault = raise_it,
) -> list[str]:
    """Return the modules of ``pairs`` whose product is zero; ``file`` holds their weights.

    ``on_fault`` gets each module with a value that is not finite in ``facts.dtype``, and a
    ``NoEffect`` when every product is zero.

    Raises:
        Truncated: the file ends before the end that its header states.
    """
    # A larger float32 becomes infinite when it is cast.
    largest = LARGEST[facts.dtype]
    idle = []
    for module, pair in pairs.items():
        a, b = peak(file, pair.a), peak(file, pair.b)
        # The engine folds the scaling into B once, when it fills a slot.
        if not all(math.isfinite(x) and x <= largest for x in (a, b, b * scaling_of(module))):
            on_fault(
                NonFinite(
                    f"The weights of {quoted(module)} are not finite numbers in {facts.dtype}."
                )
            )
        if not (a and b):
            idle.append(module)
    if pairs and len(idle) == len(pairs):
        on_fault(
            NoEffect(
                "The adapter changes nothing: in every module one of the matrices is all zero."
            )
        )
    return idle


def _or_compresses(facts: BaseFacts) -> str:
    return "" if facts.compress is None else f" and compresses those up to {MOST_RANK}"


def _say_experts(modules: Iterable[str]) -> str:
    named = min(module for module in modules if _EXPERTS in module)
    return (
        f"The adapter changes {quoted(named)}, an expert of a mixture, which this engine cannot"
        " serve with adapters; on a CPU none are."
    )


def _check_shape(
    module: str, pair: Pair, modules: Mapping[str, tuple[int, int]], on_fault: OnFault
) -> None:
    if module not in modules:
        on_fault(
            BaseMismatch(
                f"The base model has no module {quoted(module)} that an adapter can change."
            )
        )
        return
    found = (pair.a.shape[1], pair.b.shape[0])
    expected = modules[module]
    if found != expected:
        on_fault(
            BaseMismatch(
                f"The base model's {quoted(module)} maps {expected[0]} to {expected[1]} features;"
                f" the adapter was trained for {found[0]} to {found[1]}."
            )
        )
