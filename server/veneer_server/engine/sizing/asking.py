"""What the operator set of the sizes: in the settings, or in the engine's own arguments."""

from collections.abc import Mapping
from typing import Any

from veneer_server.engine.sizing.shapes import Base
from veneer_server.engine.sizing.sizes import (
    GIB,
    UTILIZATION,
    Asked,
    Device,
    Needs,
    Sizes,
    choose_sizes,
)
from veneer_server.settings import Settings

_DTYPES = {"half": "float16", "float": "float32"}
"""Other names that the engine takes for a dtype."""


def asked_in(settings: Settings) -> Asked:
    """Return what is set; an engine's own argument (``engine.args``) wins over a setting."""
    args, gib = settings.engine.args, settings.engine.kv_cache_gib
    kv_bytes = _whole(args, "kv_cache_memory_bytes") or (int(gib * GIB) if gib else None)
    utilization = args.get("gpu_memory_utilization")
    dtype = str(args.get("dtype") or settings.model.dtype)
    return Asked(
        max_seqs=_whole(args, "max_num_seqs") or settings.limits.max_seqs,
        device_slots=_whole(args, "max_loras") or settings.adapters.device_slots,
        host_slots=_whole(args, "max_cpu_loras") or settings.adapters.host_slots,
        max_rank=_whole(args, "max_lora_rank") or settings.adapters.max_rank,
        kv_bytes=kv_bytes,
        dtype=_DTYPES.get(dtype, dtype),
        lora_dtype=str(args.get("lora_dtype") or "auto"),
        utilization=utilization if isinstance(utilization, float) else UTILIZATION,
        gpus=(_whole(args, "tensor_parallel_size") or 1)
        * (_whole(args, "pipeline_parallel_size") or 1),
    )


def sizes_without_model(settings: Settings) -> Sizes:
    """Return the sizes of a server whose engine has no model: those of a CPU."""
    return choose_sizes(Device("cpu", "", 0), Base(), Needs(), asked_in(settings))


def _whole(args: Mapping[str, Any], name: str) -> int | None:
    # vLLM itself refuses an argument of another kind, with its own words.
    value = args.get(name)
    return value if isinstance(value, int) and value > 0 else None
