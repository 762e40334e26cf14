"""``veneer plan``: read the model and the adapters, compute a plan, print it."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from veneer_server.commands.planning import Demand, Memory, Plan, make_plan, zipf
from veneer_server.engine.sizing.here import dtypes_here
from veneer_server.engine.sizing.shapes import WIDTHS, ModelNotUnderstood, Shape, text_part
from veneer_server.engine.sizing.sizes import USUAL_SEQUENCES, Asked

Dtypes = tuple[str, str]
"""Of the base and its KV cache, and of the adapters in their slots."""


def plan_for(
    model: Path,
    ranks: Sequence[int],
    *,
    asked: Asked,
    skew: float,
    memory: Memory,
    cold: float,
) -> tuple[Plan, Dtypes]:
    """Return the plan for adapters of ``ranks``, and in which dtypes a server would have it.

    The first adapter gets the most requests.

    Raises:
        ModelNotUnderstood: ``model`` has no config.json that says its sizes.
        DoesNotFit: there is no plan.
    """
    config = _read(model / "config.json")
    if config is None:
        raise ModelNotUnderstood(f"{model} is not a folder with a config.json on this machine")
    demand = Demand(ranks, zipf(len(ranks), skew), asked.max_seqs or USUAL_SEQUENCES)
    dtypes = dtypes_here(model, asked)
    computed, kept = (WIDTHS.get(dtype, 2) for dtype in dtypes)
    shape = replace(Shape.of(text_part(config), computed), bytes_per_weight=kept)
    return make_plan(shape, demand, memory, cold), dtypes


def ranks_in(folders: Sequence[Path]) -> list[int]:
    """Return the rank of every adapter below ``folders``; other files are ignored."""
    files = sorted(file for folder in folders for file in folder.rglob("adapter_config.json"))
    configs = (_read(file) for file in files)
    return [rank for config in configs if config and (rank := _rank(config))]


def _rank(config: dict[str, Any]) -> int:
    pattern = config.get("rank_pattern") or {}
    ranks = [config.get("r"), *(pattern.values() if isinstance(pattern, dict) else ())]
    return max((rank for rank in ranks if isinstance(rank, int)), default=0)


def _read(file: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def to_text(plan: Plan, adapters: int, dtypes: Dtypes) -> str:
    """Return ``plan`` as the settings to write, and what they lead to."""
    dtype, lora_dtype = dtypes
    return (
        f"adapters:  # for {adapters} adapters\n"
        f"  device_slots: {plan.device_slots}\n"
        f"  host_slots: {plan.host_slots}\n"
        f"  max_rank: {plan.max_rank}\n\n"
        f"In {lora_dtype} the device slots take {_gib(plan.device_bytes)}, the host slots "
        f"{_gib(plan.host_bytes)}.\n"
        f"The rest of the memory holds a KV cache of {plan.kv_tokens:,} tokens in {dtype}.\n"
        f"Of the requests for adapters, {plan.cold_share:.1%} start cold, "
        f"{plan.disk_share:.1%} from disk.\n"
    )


def to_json(plan: Plan, dtypes: Dtypes) -> str:
    """Return ``plan`` for programs."""
    return json.dumps(asdict(plan) | dict(zip(("dtype", "lora_dtype"), dtypes, strict=True)))


def _gib(size: int) -> str:
    return f"{size / 2**30:.2f} GiB"
