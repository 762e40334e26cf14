"""An adapter of a higher rank than the slots have, as the best one of their rank.

Only who runs the server may allow it, because the adapter that is served is then not quite the one
that was trained. What is lost is measured in each module, never estimated.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from veneer_adapters.artifact import low_rank
from veneer_adapters.artifact.config import parse_object
from veneer_adapters.artifact.files import CONFIG_FILE, WEIGHTS_FILE
from veneer_adapters.artifact.manifest import (
    PREFIX,
    Artifact,
    BaseFacts,
    Pair,
    open_weights,
    read_artifact,
    read_config_file,
)
from veneer_adapters.artifact.opening import Place
from veneer_adapters.artifact.values import LARGEST, Values, read_values, write_tensors
from veneer_adapters.errors import NonFinite, RankTooLarge, quoted

MOST_RANK = 512
"""The largest rank that is compressed; the work grows with its cube."""


@dataclass(frozen=True, slots=True)
class Compression:
    """What an adapter loses at the rank of the slots."""

    rank: int
    error: float
    """The norm of what is lost of a module's change, relative to the norm of the change; of the
    module that loses most."""


def is_compressible(rank: int, facts: BaseFacts) -> bool:
    """Return whether an adapter of ``rank`` does not fit the slots, and may be compressed."""
    return facts.compress is not None and facts.max_rank < rank <= MOST_RANK


def measure(file: BinaryIO, artifact: Artifact, facts: BaseFacts) -> Compression:
    """Return what ``artifact``, which does not fit the slots, loses at their rank.

    ``file`` holds its weights, which must be finite.

    Raises:
        RankTooLarge: it would lose more than ``facts.compress``.
        NonFinite: it would have values that are infinite in ``facts.dtype``.
    """
    losses = _Losses(artifact, facts)
    for module, pair in artifact.pairs.items():
        losses.add(module, low_rank.singular_values(*_matrices(file, pair)))
    return losses.judge()


def compress(folder: Place, out: Path, facts: BaseFacts) -> Compression:
    """Write the adapter of ``folder``, at the rank of the slots, into the empty folder ``out``.

    Its scaling is in its weights, which are float32: every module has the rank and the alpha of
    the slots, and no pattern is left.

    Raises:
        AdapterRejected: as ``measure``, or the files are not a well-formed adapter.
    """
    artifact = read_artifact(folder)
    losses, tensors = _Losses(artifact, facts), {}
    with open_weights(folder) as file:
        for module, pair in artifact.pairs.items():
            scaling = artifact.config.scaling_of(module)
            a, b, values = low_rank.cut(*_matrices(file, pair), scaling, facts.max_rank)
            losses.add(module, values)
            tensors[f"{PREFIX}{module}.lora_A.weight"] = Values("F32", a)
            tensors[f"{PREFIX}{module}.lora_B.weight"] = Values("F32", b)
    found = losses.judge()
    write_tensors(out / WEIGHTS_FILE, tensors)
    fields = parse_object(read_config_file(folder))
    fields |= {"r": facts.max_rank, "lora_alpha": facts.max_rank, "use_rslora": False}
    fields |= {"rank_pattern": {}, "alpha_pattern": {}}
    with (out / CONFIG_FILE).open("x", encoding="utf-8") as file_of_config:
        json.dump(fields, file_of_config, indent=2, sort_keys=True)
    return found


class _Losses:
    """What the modules of one adapter lose, so far."""

    def __init__(self, artifact: Artifact, facts: BaseFacts) -> None:
        self._artifact = artifact
        self._facts = facts
        self._limit = facts.compress or 0.0
        self._worst, self._where, self._needed = 0.0, "", 1

    def add(self, module: str, values: low_rank.Values) -> None:
        """Note the singular values of ``module``; raises NonFinite."""
        largest = float(values[0]) * self._artifact.config.scaling_of(module)
        _require_finite(module, largest, self._facts)
        error = low_rank.error_at(values, self._facts.max_rank)
        self._worst, self._where = max((self._worst, self._where), (error, module))
        self._needed = max(self._needed, low_rank.rank_for(values, self._limit))

    def judge(self) -> Compression:
        """Return what is lost of the whole adapter; raises RankTooLarge."""
        if self._worst > self._limit:
            raise RankTooLarge(self._say())
        return Compression(self._facts.max_rank, self._worst)

    def _say(self) -> str:
        rank, slots = self._artifact.manifest.rank, self._facts.max_rank
        return (
            f"The adapter has rank {rank}. Compressed to rank {slots}, which the slots of this"
            f" server have, {quoted(self._where)} would lose {self._worst:.2g} of its change, and"
            f" adapters.compress allows {self._limit:g}. It would take rank {self._needed}. A start"
            " with a higher adapters.max_rank or adapters.compress takes it."
        )


def _matrices(file: BinaryIO, pair: Pair) -> tuple[low_rank.Array, low_rank.Array]:
    return read_values(file, pair.a).to_float32(), read_values(file, pair.b).to_float32()


def _require_finite(module: str, largest_singular: float, facts: BaseFacts) -> None:
    # No value of either matrix is above the root, because the singular vectors have length 1.
    if not math.sqrt(largest_singular) <= LARGEST[facts.dtype]:
        raise NonFinite(
            f"Compressed, the weights of {quoted(module)} are not finite numbers in {facts.dtype}."
        )
