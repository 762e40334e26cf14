"""What this machine's processor can do, as the kernel tells it."""

from collections.abc import Set
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
BF16 = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""Flags of instructions for bfloat16: of Intel and AMD the first two, of ARM the last."""


def facts(file: Path = CPUINFO) -> dict[str, str]:
    """Return what ``file`` says of its last processor; nothing where there is no such file."""
    try:
        text = file.read_text(encoding="utf-8")
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs if value}


def flags(file: Path = CPUINFO) -> frozenset[str]:
    """Return the names of the processor's extensions."""
    known = facts(file)
    return frozenset((known.get("flags") or known.get("Features", "")).split())


def has_bf16(flags: Set[str]) -> bool:
    """Return whether a processor with these extensions multiplies in bfloat16 by itself.

    One that does not turns each number into float32 and back: in a measurement a step of the
    trainer took three times as long as in float32.
    """
    return not BF16.isdisjoint(flags)
