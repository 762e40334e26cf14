"""The KV cache of a CPU takes memory when it is used, and not all of it at the start.

vLLM makes the whole cache by ``torch.zeros``, and on a CPU PyTorch writes every zero: that takes
seconds, and all of the memory. Fresh pages of the system are zeros already, and take memory when
they are first written.
"""

import functools
import mmap
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


def take_when_used() -> None:
    """Make vLLM's workers in this process map their KV cache. A second call does nothing."""
    from vllm.v1.worker import gpu_model_runner

    original = gpu_model_runner.allocate_kv_cache
    if hasattr(original, "__wrapped__"):
        return

    @functools.wraps(original)
    def allocate(*args: Any, **kwargs: Any) -> Any:
        with _Mapped():
            return original(*args, **kwargs)

    gpu_model_runner.allocate_kv_cache = allocate


def mapped_zeros(size: int) -> torch.Tensor:
    """Return ``size`` zeros, int8, that take memory page by page as they are written."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    return torch.frombuffer(mmap.mmap(-1, size, flags=flags), dtype=torch.int8)


class _Mapped(TorchFunctionMode):
    """While it is entered, ``torch.zeros`` of bytes maps them."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.zeros and (kwargs or {}).get("dtype") is torch.int8:
            return mapped_zeros(*args)
        return func(*args, **(kwargs or {}))
