"""How vLLM finds Veneer inside its own processes: two entry points, nothing else.

vLLM calls ``platform`` and ``install`` in the gateway, in the engine-core process and in each
worker. Both do nothing unless ``VENEER_GATEWAY_PID`` is set, so ``vllm serve`` in the same
environment stays as vLLM made it. vLLM swallows an ImportError here and carries on without us:
everything heavy is imported inside the functions, and whoever starts the engine must ask the
worker which LoRA op it runs.
"""

import ctypes
import multiprocessing
import os
import signal
import sys
from enum import Enum, auto
from typing import Any

GATEWAY_PID = "VENEER_GATEWAY_PID"
"""Environment variable: process id of the gateway that owns the engine, set before vLLM loads.

Set it in a function, never at import: a spawned child imports its parent's main module again.
"""

ENGINE_PID = "VENEER_ENGINE_PID"
"""Environment variable: process id of the engine core, set by itself for its workers."""

_PLATFORM = "veneer_server.engine.vllm.inside.platform.VeneerCpuPlatform"
_STOCK_CPU = "vllm.platforms.cpu.CpuPlatform"
_PR_SET_PDEATHSIG = 1


class Role(Enum):
    """What a process is to the gateway that owns the engine."""

    STRANGER = auto()
    """The gateway itself, a short-lived tool of vLLM's, or nothing of ours."""
    ENGINE_CORE = auto()
    WORKER = auto()


def platform() -> str | None:
    """Return our platform class where vLLM would choose its plain CPU platform, else None."""
    if GATEWAY_PID not in os.environ:
        return None
    from vllm.platforms import cpu_platform_plugin

    return _PLATFORM if cpu_platform_plugin() == _STOCK_CPU else None


def install() -> None:
    """Tie an engine process to the gateway: it outlives neither a crash nor a ``kill -9``.

    Afterwards the engine core leads its own process group, which its workers share, so a signal
    to the gateway's group (Ctrl-C) reaches the gateway alone. Safe to call twice.
    """
    parent = multiprocessing.parent_process()
    parent_pid = parent.pid if parent is not None else None
    role = choose_role(parent_pid, os.environ.get(GATEWAY_PID), os.environ.get(ENGINE_PID))
    if role is Role.STRANGER or parent_pid is None:
        return
    _die_with(parent_pid)
    if role is Role.ENGINE_CORE:
        os.environ[ENGINE_PID] = str(os.getpid())
        if os.getpgrp() != os.getpid():
            os.setpgid(0, 0)
        if _is_ours():
            _zero_new_blocks()
    if role is Role.WORKER and _is_ours():
        _fuse_layers()
        _count_ranks_plainly()


def choose_role(parent_pid: int | None, gateway: str | None, engine: str | None) -> Role:
    """Return what a process is, from the process that started it and the two variables.

    ``parent_pid`` is None in a process that ``multiprocessing`` did not start.
    """
    if parent_pid is None or gateway is None:
        return Role.STRANGER
    if str(parent_pid) == gateway:
        return Role.ENGINE_CORE
    return Role.WORKER if str(parent_pid) == engine else Role.STRANGER


def _is_ours() -> bool:
    """Return whether vLLM runs on our platform in this process."""
    platforms = sys.modules.get("vllm.platforms")  # absent when it was not vLLM that called
    if platforms is None:
        return False
    ours = type(platforms.current_platform)
    return f"{ours.__module__}.{ours.__name__}" == _PLATFORM


def _fuse_layers() -> None:
    """Let the model be built from fused layers."""
    from veneer_server.engine.vllm.inside.layers_cpu import register

    register()


def _count_ranks_plainly() -> None:
    """Let the first request for log-probabilities not hold up every stream for seconds.

    vLLM compiles one comparison for it, which takes 4 s at its first use in every process; as
    it stands the comparison takes a fraction of a millisecond.
    """
    from vllm.v1.sample import sampler

    def count_at_least(x: Any, values: Any) -> Any:
        return (x >= values).sum(-1)

    sampler.batched_count_greater_than = count_at_least


def _zero_new_blocks() -> None:
    """Let a request never read what another one left in its blocks of the KV cache.

    The CPU's attention multiplies what lies beyond a sequence's end by zero, and zero times
    the NaN of a broken adapter is NaN: its neighbours answered with token 0.
    """
    from vllm.v1.kv_cache_interface import KVCacheConfig

    KVCacheConfig.needs_kv_cache_zeroing = property(lambda _: True)


def _die_with(parent_pid: int) -> None:
    if sys.platform != "linux":
        return
    # The kernel watches the *thread* that started this process, not the whole parent: whoever
    # starts the engine must do so from a thread that lives as long as the engine.
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent_pid:
        # The parent died before the line above took effect, so no signal will come.
        os.kill(os.getpid(), signal.SIGKILL)
