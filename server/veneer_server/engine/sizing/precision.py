"""In which dtype a base model is computed, where nobody said it.

Rule 1: this file computes and reads nothing, as ``sizes``.
Rule 2: what the engine takes by itself is kept, except on a CPU that has no instructions for it.
There oneDNN computes bfloat16 in float32 after all, and converts every weight for it: float32 is
faster from two requests on, and gives the same answer whoever else is served. tests/bench/LOG.md
has the figures.
Rule 3: a base that is computed in float32 by default, and not by the operator's wish, has its
adapters in its own bfloat16: a step reads every adapter, and so half as much.
"""

from dataclasses import replace

from veneer_server.engine.cpu import lacks
from veneer_server.engine.sizing.shapes import OWN_DTYPE, WIDTHS, Base
from veneer_server.engine.sizing.sizes import Asked, Device

FLOAT32_SHARE = 0.25
"""The most of the free memory that weights may take in float32 where their dtype has half of it."""


def choose_dtype(device: Device, base: Base, asked: Asked) -> tuple[Base, Asked]:
    """Return both as they are, or with float32 where that is right by default."""
    base, asked = _choose(device, base, asked)
    width = WIDTHS.get(asked.lora_dtype)
    return (base if width is None else base.with_adapters(width)), asked


def _choose(device: Device, base: Base, asked: Asked) -> tuple[Base, Asked]:
    if asked.dtype != "auto" or not _lacks(device, base.dtype) or base.is_quantized:
        return base, asked
    wide = base.in_float32()
    if (wide.weight_bytes or device.memory_bytes) > FLOAT32_SHARE * device.memory_bytes:
        return base, asked
    asked = replace(asked, dtype="float32")
    if asked.lora_dtype == "auto" and base.dtype == "bfloat16":  # the kernel has no float16
        asked = replace(asked, lora_dtype="bfloat16")
    return wide, asked


def dtype_of(base: Base, asked: Asked) -> str:
    """Return the dtype in which the engine computes, after ``choose_dtype``."""
    return base.dtype or OWN_DTYPE if asked.dtype == "auto" else asked.dtype


def lora_dtype_of(base: Base, asked: Asked) -> str:
    """Return the dtype of the adapters' weights in their slots, after ``choose_dtype``."""
    return dtype_of(base, asked) if asked.lora_dtype == "auto" else asked.lora_dtype


def _lacks(device: Device, dtype: str | None) -> bool:
    return device.is_cpu and lacks(dtype, device.instructions)
