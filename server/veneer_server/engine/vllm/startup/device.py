"""The device that vLLM computes on in this process's environment. Thin: it only asks vLLM.

On CUDA vLLM asks the driver (NVML), so this process makes no CUDA context.
"""

import os
from pathlib import Path

from veneer_server.engine.cpu import instructions
from veneer_server.engine.sizing.sizes import Device


def this_device() -> Device:
    """Return the device and its memory: of a CPU what is free now, of a GPU all that it has."""
    from vllm.platforms import current_platform

    if current_platform.is_cpu():
        return Device("cpu", "this machine", available_memory_bytes(), instructions())
    return Device(
        current_platform.device_name,
        str(current_platform.get_device_name()),
        int(current_platform.get_device_total_memory()),
    )


def available_memory_bytes() -> int:
    """Return the bytes that can be allocated without swapping; cgroup limits do not count.

    Source: ``MemAvailable`` in Linux's /proc/meminfo.
    """
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
