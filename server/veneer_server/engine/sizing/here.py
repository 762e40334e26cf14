"""What a server that starts now would choose on this machine, for commands that have no engine.

vLLM takes seconds to import, so it is not asked which device it computes on: a test holds this file
to it.
"""

import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from veneer_server.engine.cpu import instructions
from veneer_server.engine.sizing.memory import available_bytes
from veneer_server.engine.sizing.precision import choose_dtype, dtype_of, lora_dtype_of
from veneer_server.engine.sizing.shapes import read_base
from veneer_server.engine.sizing.sizes import Asked, Device


def dtypes_here(folder: Path, asked: Asked) -> tuple[str, str]:
    """Return in which dtypes a server would compute the model in ``folder``, and keep adapters."""
    chosen = choose_dtype(device_here(), read_base(folder, asked.dtype), asked)
    return dtype_of(*chosen), lora_dtype_of(*chosen)


def device_here() -> Device:
    """Return the CPU, or a GPU of which nothing is known where vLLM was built for one."""
    return this_cpu() if _computes_on_cpu() else Device("cuda", "", 0)


def this_cpu() -> Device:
    """Return the CPU of this machine with the memory that is free for it now."""
    return Device("cpu", "this machine", available_bytes(), instructions())


def _computes_on_cpu() -> bool:
    # Source: vLLM 0.32, ``cpu_platform_plugin`` in platforms/__init__.py.
    try:
        return "cpu" in version("vllm") or os.environ.get("VLLM_TARGET_DEVICE") == "cpu"
    except PackageNotFoundError:
        return True  # the package for CPUs has another name
