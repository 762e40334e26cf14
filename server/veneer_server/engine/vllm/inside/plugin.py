"""The two entry points by which vLLM finds Veneer inside its own processes.

vLLM calls ``platform`` and ``install`` in the gateway, in the engine-core process and in each
worker. Both do nothing unless ``VENEER_GATEWAY_PID`` is set, so ``vllm serve`` in the same
environment works as without Veneer. If an import fails here, vLLM goes on without Veneer. So the
functions themselves import everything heavy, and the code that starts the engine must ask the
worker which LoRA op it runs.
"""

import multiprocessing
import os
import sys
import tempfile
from contextlib import suppress
from enum import Enum, auto
from importlib import import_module
from pathlib import Path
from typing import Any

GATEWAY_PID = "VENEER_GATEWAY_PID"
"""Environment variable: the process id of the gateway that owns the engine.

The gateway sets it before it imports vLLM. Set it in a function and never at import time, because
a spawned child imports its parent's main module again.
"""

ENGINE_PID = "VENEER_ENGINE_PID"
"""Environment variable: the process id of the engine core, which sets it for its workers."""

LORA_OP = "VENEER_LORA_OP"
"""Environment variable: ``vllm`` leaves LoRA on CUDA to vLLM, else the card decides."""

_PLATFORM = "veneer_server.engine.vllm.inside.platform.VeneerCpuPlatform"
_ON_CUDA = "veneer_server.engine.vllm.inside.platform_cuda.VeneerCudaPlatform"
_STOCK_CPU = "vllm.platforms.cpu.CpuPlatform"
_STOCK_CUDA = "vllm.platforms.cuda.CudaPlatform"
_SOONER, _SOONEST = 500, 1000
"""How much sooner than the gateway an engine is ended for memory, and the most there is. A reader
of untrusted files has the most. Source: proc(5), oom_score_adj."""


class Role(Enum):
    """The part that a process plays for the gateway that owns the engine."""

    STRANGER = auto()
    """The gateway itself, a short-lived tool of vLLM's, or a process that is not ours."""
    ENGINE_CORE = auto()
    WORKER = auto()


def platform() -> str | None:
    """Return our class in place of vLLM's own platform for a CPU or for CUDA, else None.

    An engine process ends with the gateway from here on.
    """
    if GATEWAY_PID not in os.environ:
        return None
    _end_with_the_gateway()
    from vllm.platforms import cpu_platform_plugin, cuda_platform_plugin

    if cpu_platform_plugin() == _STOCK_CPU:
        return _PLATFORM
    if os.environ.get(LORA_OP) == "vllm" or cuda_platform_plugin() != _STOCK_CUDA:
        return None
    return _ON_CUDA


def install() -> None:
    """Tie an engine process to the gateway: it ends with it, also after a crash or ``kill -9``.

    When memory runs out, the kernel ends the engine first, which the gateway starts again.
    Afterwards the engine core leads its own process group, and its workers are in it. So a signal
    to the gateway's group (Ctrl-C) reaches only the gateway. A second call is safe. On our
    platform this function also changes vLLM where it is wrong or slow on a CPU.
    """
    parent = multiprocessing.parent_process()
    parent_pid = parent.pid if parent is not None else None
    role = choose_role(parent_pid, os.environ.get(GATEWAY_PID), os.environ.get(ENGINE_PID))
    if role is Role.STRANGER or parent_pid is None:
        return
    from veneer_server.engine.vllm.bases.causes import note_causes
    from veneer_server.engine.vllm.inside.reporting import report_workers
    from veneer_server.engine.vllm.startup.parents import die_with
    from veneer_server.engine.vllm.startup.reports import FOLDER
    from veneer_server.engine.vllm.startup.spawning import begun

    begun()
    die_with(parent_pid)
    _die_before(int(os.environ[GATEWAY_PID]))
    # The gateway removes this folder with all of it when the engine is gone.
    folder = os.environ.get(FOLDER)
    tempfile.tempdir = folder or tempfile.tempdir
    report_workers()
    if folder:
        note_causes(Path(folder), is_core=role is Role.ENGINE_CORE)
    if role is Role.ENGINE_CORE:
        os.environ[ENGINE_PID] = str(os.getpid())
        if os.getpgrp() != os.getpid():
            os.setpgid(0, 0)
        _hold_to_grammar()
        if _is_ours():
            _zero_new_blocks()
    if role is Role.WORKER and _is_ours():
        _mend_the_cpus_worker()
    if role is Role.WORKER or not _is_ours():
        # Where vLLM has no process for its worker, as on one GPU, the engine core has the model.
        _take_any_base()


def _end_with_the_gateway() -> None:
    # vLLM asks for the platform while it is imported. ``install`` comes much later: before it an
    # engine core waits up to five minutes for a gateway that may be gone.
    parent = multiprocessing.parent_process()
    parent_pid = parent.pid if parent is not None else None
    role = choose_role(parent_pid, os.environ.get(GATEWAY_PID), os.environ.get(ENGINE_PID))
    if role is not Role.STRANGER and parent_pid is not None:
        from veneer_server.engine.vllm.startup.parents import die_with

        die_with(parent_pid)


def choose_role(parent_pid: int | None, gateway: str | None, engine: str | None) -> Role:
    """Return the role of a process, from the process that started it and the two variables.

    ``parent_pid`` is None in a process that ``multiprocessing`` did not start.
    """
    if parent_pid is None or gateway is None:
        return Role.STRANGER
    if str(parent_pid) == gateway:
        return Role.ENGINE_CORE
    return Role.WORKER if str(parent_pid) == engine else Role.STRANGER


def _is_ours() -> bool:
    """Return whether vLLM runs on our platform in this process."""
    platforms = sys.modules.get("vllm.platforms")  # absent when the caller is not vLLM
    if platforms is None:
        return False
    ours = type(platforms.current_platform)
    return f"{ours.__module__}.{ours.__name__}" == _PLATFORM


def _hold_to_grammar() -> None:
    """Make vLLM fail a request whose grammar it gives up."""
    from veneer_server.engine.vllm.inside.grammars import hold_to_grammar

    hold_to_grammar()


def _take_any_base() -> None:
    """Make vLLM prepare the right layers of any base model for adapters."""
    if "vllm.platforms" in sys.modules:
        from veneer_server.engine.vllm.inside.modules import prepare_any_base

        prepare_any_base(on_cpu=_is_ours())


def _mend_the_cpus_worker() -> None:
    """Change vLLM where it is slow, wrong or ends on a CPU; each module says where."""
    # First, as in a worker that was begun early: it changes functions that others import by name.
    import_module("vllm.v1.worker.cpu_worker")
    from veneer_server.engine.vllm.inside.layers_cpu import register
    from veneer_server.engine.vllm.inside.rotary_cpu import rotate_every_head
    from veneer_server.engine.vllm.inside.seeds_cpu import keep_seeds
    from veneer_server.engine.vllm.startup.int8_cpu import refuse_where_it_overflows
    from veneer_server.engine.vllm.startup.kv_memory import take_when_used
    from veneer_server.engine.vllm.startup.memory_nodes import bind_where_there_is_a_choice

    register()
    rotate_every_head()
    keep_seeds()
    take_when_used()
    bind_where_there_is_a_choice()
    refuse_where_it_overflows()
    _count_ranks_plainly()


def _count_ranks_plainly() -> None:
    """Keep the first request for log-probabilities from delaying every stream for seconds.

    vLLM compiles a comparison for such requests. That takes 4 s at its first use in every process.
    Without compilation the comparison takes a fraction of a millisecond.
    """
    from vllm.v1.sample import sampler

    def count_at_least(x: Any, values: Any) -> Any:
        return (x >= values).sum(-1)

    sampler.batched_count_greater_than = count_at_least


def _zero_new_blocks() -> None:
    """Make vLLM fill new blocks of the KV cache with zeros.

    Otherwise a request reads what another request left in its blocks: the CPU's attention
    multiplies the values beyond a sequence's end by zero. Zero times NaN is NaN, so after an
    adapter that computes NaN, other requests answered with token 0.
    """
    from vllm.v1.kv_cache_interface import KVCacheConfig

    KVCacheConfig.needs_kv_cache_zeroing = property(lambda _: True)


def _die_before(gateway_pid: int) -> None:
    if sys.platform != "linux":
        return
    # Some systems do not allow this, and it only decides which process ends first.
    with suppress(OSError):
        gateways = int(Path(f"/proc/{gateway_pid}/oom_score_adj").read_text())
        score = min(gateways + _SOONER, _SOONEST)
        Path("/proc/self/oom_score_adj").write_text(str(score))
