"""What the CPU of this machine can do, as Linux tells it."""

from collections.abc import Set
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
_INSTRUCTIONS = {
    "bfloat16": frozenset({"avx512_bf16", "amx_bf16"}),
    "float16": frozenset({"avx512_fp16", "amx_fp16"}),
    "int8": frozenset({"avx512_vnni", "avx_vnni", "amx_int8"}),
}
"""What an x86 processor must have, one of them, to compute in a dtype."""


def facts(file: Path = CPUINFO) -> dict[str, str]:
    """Return what ``file`` says of its last processor; nothing where there is no such file."""
    try:
        text = file.read_text(encoding="utf-8")
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs if value}


def instructions(file: Path = CPUINFO) -> frozenset[str]:
    """Return the names of what an x86 processor can; empty on others, which have no such line."""
    return frozenset(facts(file).get("flags", "").split())


def lacks(dtype: str | None, instructions: Set[str]) -> bool:
    """Return whether a processor with these ``instructions`` has none for ``dtype``.

    Nothing is known of a processor without any, nor of other dtypes.
    """
    needed = _INSTRUCTIONS.get(dtype or "")
    return needed is not None and bool(instructions) and needed.isdisjoint(instructions)
