"""Does an adapter fit this base model, and does it do something?

An adapter must prove itself before it serves. The engine checks less than this file does:
it accepts NaN, the tensors of a smaller base and layers that do not exist without a word.
"""

import math
from collections.abc import Mapping
from pathlib import Path

from veneer_adapters.artifact import WEIGHTS_FILE
from veneer_adapters.errors import BaseMismatch, NoEffect, NonFinite, RankTooLarge, quoted
from veneer_adapters.manifest import Artifact, BaseFacts, Manifest, Pair, read_artifact
from veneer_adapters.tensors import peak

# The largest finite value of each dtype; a larger float32 becomes infinite when it is cast.
_LARGEST = {"float32": 3.4028234e38, "bfloat16": 3.3895313e38, "float16": 65504.0}


def verify(folder: Path, facts: BaseFacts) -> Manifest:
    """Return the facts of the adapter in ``folder``, which is then fit to be served.

    Reads every byte of the weights: for a background thread, never for the event loop.

    Raises:
        AdapterRejected: the leaf that says what is wrong.
    """
    artifact = read_artifact(folder)
    check(artifact, facts)
    check_values(folder, artifact, facts)
    return artifact.manifest


def check(artifact: Artifact, facts: BaseFacts) -> None:
    """Return when rank, module names and shapes fit the base; values are not read.

    Raises:
        RankTooLarge: above ``facts.max_rank``.
        NoEffect: no module of the base is named.
        BaseMismatch: a module is missing in the base, or has another shape there.
    """
    rank = artifact.manifest.rank
    if rank > facts.max_rank:
        raise RankTooLarge(
            f"The adapter has rank {rank}; this server takes up to {facts.max_rank}."
        )
    if not facts.modules:
        return
    if not artifact.pairs.keys() & facts.modules.keys():
        raise NoEffect("No module the adapter was trained for exists in the base model.")
    for module, pair in artifact.pairs.items():
        _require_shape(module, pair, facts.modules)


def check_values(folder: Path, artifact: Artifact, facts: BaseFacts) -> None:
    """Return when all weights are finite in the engine's dtype and at least one has an effect.

    Raises:
        NonFinite: a value is NaN or infinite, or becomes so in ``facts.dtype``.
        NoEffect: A or B is all zero in every module.
        Truncated: the file ends before its header says so.
    """
    largest = _LARGEST[facts.dtype]
    effect = False
    with (folder / WEIGHTS_FILE).open("rb") as file:
        for module, pair in artifact.pairs.items():
            a, b = peak(file, pair.a), peak(file, pair.b)
            # The engine folds the scaling into B once, when it fills a slot.
            scaled = b * artifact.config.scaling_of(module)
            if not all(math.isfinite(x) and x <= largest for x in (a, b, scaled)):
                raise NonFinite(
                    f"The weights of {quoted(module)} are not finite numbers in {facts.dtype}."
                )
            effect = effect or (a > 0 and b > 0)
    if not effect:
        raise NoEffect("The adapter changes nothing: in every module one matrix is all zero.")


def _require_shape(module: str, pair: Pair, modules: Mapping[str, tuple[int, int]]) -> None:
    if module not in modules:
        raise BaseMismatch(f"The base model has no module {quoted(module)}.")
    found = (pair.a.shape[1], pair.b.shape[0])
    expected = modules[module]
    if found != expected:
        raise BaseMismatch(
            f"The base model's {quoted(module)} maps {expected[0]} to {expected[1]} features,"
            f" the adapter was trained for {found[0]} to {found[1]}."
        )
