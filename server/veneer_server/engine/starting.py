"""Starts the configured engine and finds its model: only this file names a concrete engine."""

import asyncio
import os
import re
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache

from veneer_server.collecting import nothing_collected
from veneer_server.engine.base import EngineStartTimedOut
from veneer_server.engine.lives import MortalEngine
from veneer_server.engine.sizing.asking import asked_in, sizes_without_model
from veneer_server.engine.sizing.here import device_here
from veneer_server.engine.sizing.precision import choose_dtype
from veneer_server.engine.sizing.shapes import read_base
from veneer_server.engine.sizing.sizes import Device, Needs, Sizes, choose_sizes
from veneer_server.engine.sizing.wording import to_lines
from veneer_server.engine.stages import Stages
from veneer_server.engine.supervision import SupervisedEngine
from veneer_server.engine.vllm import embedded
from veneer_server.engine.vllm.bases.folder import require_usable
from veneer_server.engine.vllm.leftovers import RECORD_FILE
from veneer_server.engine.vllm.options import (
    EXECUTOR,
    EngineOptions,
    begins_worker_early,
    environment,
)
from veneer_server.engine.vllm.startup import spare
from veneer_server.engine.vllm.startup.environs import foreseen
from veneer_server.settings import EMBEDDED, Settings
from veneer_server.telemetry import otel

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def embedded_model() -> tuple[Path, Path]:
    """Return the folder of the embedded model's checkpoint, and its GGUF file.

    The checkpoint is converted on first use, which takes about half a minute.

    Raises:
        EngineNotStarted: the package with the embedded model is not installed.
    """
    return embedded.ensure_checkpoint(), embedded.packaged_gguf()


async def choose_sizes_for(
    settings: Settings, needs: Needs, say: Callable[[Sequence[str]], None]
) -> Sizes:
    """Return how many sequences and slots the configured engine gets, and ``say`` it.

    A server that starts its engine again keeps them. The embedded model is converted first. A
    folder that no engine could serve is refused before vLLM is imported, which takes seconds.

    Raises:
        EngineNotStarted: the model cannot be served or does not fit, or the embedded model is not
            installed.
    """
    if settings.engine.kind == "echo":
        return sizes_without_model(settings)
    if settings.model.path != EMBEDDED:
        tokenizer = settings.engine.args.get("tokenizer")
        await asyncio.to_thread(require_usable, settings.model.path, tokenizer=tokenizer)
    _set_environment(settings)
    before = device_here()
    if before.is_cpu and find_spec("vllm"):
        _begin_engine_core(settings)
    if settings.model.path == EMBEDDED:
        await asyncio.to_thread(embedded.ensure_checkpoint)
    asked, device = asked_in(settings), await asyncio.to_thread(_device)
    if device.is_cpu:  # what was free before there was anything of the engine
        device = replace(device, memory_bytes=before.memory_bytes)
    base = await asyncio.to_thread(read_base, model_on_disk(settings)[0], asked.dtype)
    base, asked = choose_dtype(device, base, asked)
    sizes = choose_sizes(device, base, needs, asked)
    say(to_lines(device, base, asked, sizes))
    return sizes


def _begin_engine_core(settings: Settings) -> None:
    # It imports vLLM while this process does. What it needs on a GPU was not tried.
    fields = {"distributed_executor_backend": EXECUTOR, **settings.engine.args}
    wanted = spare.CORE if begins_worker_early(fields) else ""
    spare.begin(spare.CORE, {**os.environ, **foreseen(os.environ), spare.WANTED: wanted})


def _device() -> Device:
    with nothing_collected():
        from veneer_server.engine.vllm.startup.device import this_device

        return this_device()  # imports most of vLLM


async def start_engine(settings: Settings, sizes: Sizes, stages: Stages) -> SupervisedEngine:
    """Return the configured engine when it can serve; with vLLM this takes tens of seconds.

    ``stages`` follow how far the first start is.

    Raises:
        EngineStartTimedOut: it takes longer than ``engine.start_timeout_s``.
        EngineNotStarted: the engine cannot start with these settings; the message says why.
    """

    async def start(stages: Stages) -> MortalEngine:
        once = _start_once(settings, sizes, stages)
        return await started_in_time(once, settings.engine.start_timeout_s)

    return SupervisedEngine(
        await start(stages),
        lambda: start(Stages()),
        stall_timeout_s=settings.engine.stall_timeout_s,
        restart_wait_s=settings.engine.restart_wait_s,
    )


async def started_in_time(
    start: Coroutine[Any, Any, MortalEngine], within_s: float
) -> MortalEngine:
    """Return what ``start`` returns; cancel it after ``within_s`` seconds.

    Raises:
        EngineStartTimedOut: it took longer.
    """
    try:
        async with asyncio.timeout(within_s) as bound:
            return await start
    except TimeoutError as error:
        if not bound.expired():
            raise
        raise EngineStartTimedOut(
            f"The engine did not start within {within_s:g} s. It hangs, or it needs a longer"
            " engine.start_timeout_s."
        ) from error


async def _start_once(settings: Settings, sizes: Sizes, stages: Stages) -> MortalEngine:
    if settings.engine.kind == "echo":
        from veneer_server.engine.echo import EchoEngine

        return EchoEngine(name=settings.model.name or "echo")
    _set_environment(settings)
    with nothing_collected():
        from veneer_server.engine.vllm.engine import VllmEngine

    return await VllmEngine.start(_engine_options(settings, sizes), stages)


def _set_environment(settings: Settings) -> None:
    # vLLM reads its environment while it is imported, and the processes it spawns inherit it.
    cpus, within_s = os.sched_getaffinity(0), settings.engine.start_timeout_s
    os.environ.update(environment(os.environ, cpus, os.getpid(), within_s))
    os.environ["VENEER_LORA_OP"] = settings.engine.lora_op


def model_folder(settings: Settings) -> Path:
    """Return the folder of the base model; the embedded model is converted on first use.

    An id of the Hugging Face Hub comes back as it is, and no such folder exists.

    Raises:
        EngineNotStarted: the package with the embedded model is not installed.
    """
    if settings.model.path == EMBEDDED:
        return embedded.ensure_checkpoint()
    return Path(settings.model.path)


def model_on_disk(settings: Settings) -> tuple[Path | None, str]:
    """Return the folder of the base model and its name.

    The folder is None when the model is not on this machine yet. This function converts nothing
    and fetches nothing.
    """
    path = settings.model.path
    if path == EMBEDDED:
        folder = embedded.cache_folder()
        return (folder if (folder / "config.json").is_file() else None), embedded.ROOT
    if Path(path).is_dir():
        return Path(path), path
    cached = try_to_load_from_cache(path, "config.json") if _HUB_ID.fullmatch(path) else None
    return (Path(cached).parent if isinstance(cached, str) else None), path


def _engine_options(settings: Settings, sizes: Sizes) -> EngineOptions:
    model = settings.model
    is_embedded = model.path == EMBEDDED
    path = str(model_folder(settings)) if is_embedded else model.path
    return EngineOptions(
        model=path,
        name=model.name or (embedded.NAME if is_embedded else Path(path).name.lower()),
        root=embedded.ROOT if is_embedded else model.path,
        dtype=sizes.dtype,
        lora_dtype=sizes.lora_dtype,
        max_len=model.max_len,
        kv_cache_bytes=sizes.kv_bytes,
        device_slots=sizes.device_slots,
        host_slots=sizes.host_slots,
        max_rank=sizes.max_rank,
        max_seqs=sizes.max_seqs,
        lora_op=settings.engine.lora_op,
        chat_template=embedded.CHAT_TEMPLATE if is_embedded else None,
        tool_call_parser=embedded.TOOL_CALL_PARSER if is_embedded else None,
        record=settings.state.dir / RECORD_FILE,
        args=_traced(os.environ) | settings.engine.args,
    )


def _traced(environ: Mapping[str, str]) -> dict[str, str]:
    export = otel.asked_for(environ)
    return {} if export is None else {"otlp_traces_endpoint": export.endpoint}
