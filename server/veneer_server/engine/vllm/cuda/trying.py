"""Tries our kernels on this card before anything is served. Thin: ``choosing`` decides.

Rule 1: whatever goes wrong with ours, vLLM's kernels serve and the log says why. No start fails
for it.
Rule 2: a card that stops answering cannot be helped within the process. So a mark is left while
ours are tried, and a start that finds one does not try again.
"""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from vllm.logger import init_logger
from vllm.lora.layers.base_linear import BaseLinearLayerWithLoRA

from veneer_server.engine.vllm.cuda.choosing import (
    ADAPTERS,
    ROWS,
    Choice,
    Timing,
    choose,
    from_json,
    keep_vllms,
    key_of,
    to_json,
)
from veneer_server.engine.vllm.cuda.guards import why_not
from veneer_server.engine.vllm.cuda.launch import layer_of as layer_with
from veneer_server.engine.vllm.cuda.op import PunicaWrapperVeneerGPU, Served
from veneer_server.engine.vllm.cuda.plans import SMALL, Layer
from veneer_server.engine.vllm.cuda.ranks import Ranks
from veneer_server.engine.vllm.cuda.reference import Batch
from veneer_server.engine.vllm.cuda.selftest import (
    NOTHING,
    add,
    find_fault_of,
    map_batch,
    most_rows,
    one_of_each_shape,
)
from veneer_server.engine.vllm.cuda.surroundings import describe, facts_of

logger = init_logger("vllm.veneer.cuda")  # a worker shows only the loggers under "vllm"

_THREADS = 8
_WITHIN_S = 15.0
"""When the timing ends, whatever it has: what was not timed is computed by vLLM's kernels."""
_REPLAYS = 10
_ENOUGH = 2
"""Starts that may end while they try ours. One may have been stopped by its operator."""


def try_kernels(slots: Any, folder: Path) -> Choice:
    """Return the kernels that serve from now on; ``slots`` is vLLM's ``LoRAModelManager``.

    No adapter may be loaded, no step may run meanwhile and no graph may be captured before. The
    figures of an earlier start are read from ``folder``, and new ones are kept there.
    """
    wrappers = list(slots.punica_wrapper_mapping.values())
    own = [one for one in wrappers if isinstance(one, PunicaWrapperVeneerGPU)]
    if len(own) != 1 or len(wrappers) != 1:
        return keep_vllms("ours are switched off, or the model has several kinds of adapters")
    try:
        choice = _try(slots, own[0], folder)
    except Exception as error:
        choice = keep_vllms(f"ours failed: {type(error).__name__}: {error}")
    _serve(slots, own[0], choice)
    return choice


def _try(slots: Any, wrapper: PunicaWrapperVeneerGPU, folder: Path) -> Choice:
    reason = why_not(describe(slots))
    if reason is not None:
        return keep_vllms(reason)
    modules = [module for _, module in one_of_each_shape(slots)]
    layers = [layer_of(module) for module in modules]
    name = folder / key_of(facts_of(slots, most_rows(modules[0])), layers)
    mark = name.with_suffix(".trying")
    if len(_read(mark)) >= _ENOUGH:
        return keep_vllms(
            f"{_ENOUGH} starts ended while they tried ours; remove {mark} to try again"
        )
    with _marked(mark):
        return _try_marked(slots, wrapper, layers, name.with_suffix(".json"))


def _try_marked(
    slots: Any, wrapper: PunicaWrapperVeneerGPU, layers: list[Layer], kept: Path
) -> Choice:
    wrapper.make_room([layer for layer in layers if layer.fits], _rows_of(slots))
    _compile(slots, wrapper)
    wrapper.serve(Served(small=True, large=True))
    fault = find_fault_of(slots) or find_fault_of(slots, replayed=True)
    if fault is not None:
        return keep_vllms(f"ours are wrong: {fault}")
    known = from_json(_read(kept))
    if known is not None:
        return known
    try:
        choice = choose(list(_time_all(slots, wrapper)))
    finally:
        map_batch(slots, next(one_of_each_shape(slots))[1], NOTHING)
    _write(kept, to_json(choice))
    return choice


def _serve(slots: Any, wrapper: PunicaWrapperVeneerGPU, choice: Choice) -> None:
    wrapper.serve(Served(choice.small, choice.large), Ranks(slots).rank_of)
    if not (choice.small or choice.large):
        wrapper.free_room()
    slots._last_mapping = None  # whatever vLLM remembers of the last batch is not true any more
    torch.cuda.empty_cache()


def _compile(slots: Any, wrapper: PunicaWrapperVeneerGPU) -> None:
    """Compile every kernel that the model needs, side by side."""
    rows = {min(one, _rows_of(slots)) for one in (SMALL, SMALL + 1)}
    modules = [module for _, module in one_of_each_shape(slots) if layer_of(module).fits]
    device = modules[0].lora_a_stacked[0].device
    work = [
        launch.compile
        for module in modules
        for count in rows
        for launch in wrapper.launches(*_batch_of(module, count), *stacks_of(module))
    ]
    with ThreadPoolExecutor(_THREADS, "lora-compile", torch.cuda.set_device, (device,)) as threads:
        for done in [threads.submit(act) for act in work]:
            done.result()


def stacks_of(module: Any) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Return the layer's stacks of A and of B."""
    return list(module.lora_a_stacked), list(module.lora_b_stacked)


def layer_of(module: Any) -> Layer:
    """Return what the kernels must know of a layer."""
    return layer_with(*stacks_of(module))


def _batch_of(module: Any, rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    a, b = module.lora_a_stacked, module.lora_b_stacked
    y = a[0].new_zeros(rows, sum(stack.shape[2] for stack in b))
    return y, a[0].new_zeros(rows, a[0].shape[3])


def _time_all(slots: Any, wrapper: PunicaWrapperVeneerGPU) -> Iterator[Timing]:
    end = time.monotonic() + _WITHIN_S
    for rows in sorted({min(one, _rows_of(slots)) for one in ROWS}):
        if time.monotonic() > end:
            logger.warning("LoRA kernels: no time is left to try steps of %d rows", rows)
            return
        first = next(one_of_each_shape(slots))[1]
        count = min(ADAPTERS, slots.lora_slots, rows)
        adapters = tuple(row * (count + 1) // rows for row in range(rows))
        map_batch(slots, first, Batch("timed", adapters, is_prefill=rows > ROWS[-2]))
        taken = []
        for served in (Served(), Served(small=True, large=True)):
            wrapper.serve(served)
            taken.append(_time_step(slots, rows))
        yield Timing(rows, *taken)


def _time_step(slots: Any, rows: int) -> float:
    """Return the milliseconds of all linear layers' adapters in one step, without the base."""
    modules = [one for one in slots.modules.values() if isinstance(one, BaseLinearLayerWithLoRA)]
    shared = {_sizes(module): _batch_of(module, rows) for module in modules}

    def step() -> None:
        for module in modules:
            add(module, *shared[_sizes(module)])

    with torch.inference_mode():
        step()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
        return min(_time_replays(graph) for _ in range(3))


def _time_replays(graph: Any) -> float:
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(_REPLAYS):
        graph.replay()
    end.record()
    torch.cuda.synchronize()
    return float(begin.elapsed_time(end)) / _REPLAYS


def _sizes(module: Any) -> tuple[int, int]:
    out = sum(stack.shape[2] for stack in module.lora_b_stacked)
    return module.lora_a_stacked[0].shape[3], out


def _rows_of(slots: Any) -> int:
    return most_rows(next(one_of_each_shape(slots))[1])


@contextmanager
def _marked(mark: Path) -> Iterator[None]:
    mark.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _write(mark, _read(mark) + "x")
    try:
        yield
    finally:
        mark.unlink(missing_ok=True)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return ""


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text)
    except OSError as error:
        logger.warning("what was learned of LoRA kernels is not kept: %s", error)
