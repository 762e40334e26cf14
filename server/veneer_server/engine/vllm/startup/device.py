"""The device that vLLM computes on in this process's environment. Thin: it only asks vLLM.

On CUDA vLLM asks the driver (NVML), so this process makes no CUDA context.
"""

from veneer_server.engine.sizing.here import this_cpu
from veneer_server.engine.sizing.sizes import Device


def this_device() -> Device:
    """Return the device and its memory: of a CPU what is free now, of a GPU all that it has."""
    from vllm.platforms import current_platform

    if current_platform.is_cpu():
        return this_cpu()
    return Device(
        current_platform.device_name,
        str(current_platform.get_device_name()),
        int(current_platform.get_device_total_memory()),
    )
