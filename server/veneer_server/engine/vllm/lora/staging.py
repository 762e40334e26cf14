"""The device slots of a GPU. Every load goes through one image of a slot in pinned memory.

The thread that read the files writes the image, as it would write a slot of a CPU. Then it copies
the image into the slot on a stream of its own, and waits until that is done. So the steps' thread
copies nothing, nothing is pinned while steps run, and a commit only maps the slot.

Rule: a load waits for the steps that were launched before it, because those may still read the
adapter that had the slot.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Any

import torch

from veneer_server.engine.vllm.lora.layer import STORED, Ranks, as_stored
from veneer_server.engine.vllm.lora.pack import Array, Packed
from veneer_server.engine.vllm.lora.slots import SlotWeights
from veneer_server.engine.vllm.lora.spans import Span


@dataclass(frozen=True, slots=True)
class _Image:
    """One layer's part of the image."""

    a: Sequence[torch.Tensor]
    stored: tuple[tuple[Array, ...], tuple[Array, ...]]


class StagedSlots:
    """Every device slot of one model on a GPU; ``placements.PackedPlacement`` writes them."""

    by_output = True
    """B is laid out as vLLM has it, ``(out, max_rank)``; see ``pack``."""

    def __init__(self, layers: Mapping[str, Any], spans: Mapping[str, Span]) -> None:
        """Write to ``layers``: vLLM's linear layers with adapters, each whole in this worker.

        Call it in the thread of the steps; the image is as large as a slot.

        Raises:
            ValueError: there is nothing to write, or numpy cannot write it.
        """
        stacks = [s for one in layers.values() for s in (*one.lora_a_stacked, *one.lora_b_stacked)]
        self._image = _allocate(stacks)
        rows = self._image.split([stack[0].numel() for stack in stacks])
        self._pairs = [(r.view(s[0].shape), s) for r, s in zip(rows, stacks, strict=True)]
        self._weights = SlotWeights(self._split(layers), spans)
        self.stored = self._weights.stored
        self._link = _Link(stacks[0].device)
        self._lock = Lock()

    def write(self, slot: int, packed: Packed) -> None:
        """Fill ``slot``, which no step that begins before this returns may read.

        Raises:
            NoEffect: the adapter changes no module of the model.
            LoadFailed: a module is unknown, or does not fit the slot, which is as it was.
        """
        self._link.wait_for_steps()
        with self._lock:
            self._weights.write(0, packed)
            self._send(slot)

    def ranks(self, packed: Packed) -> dict[int, Ranks]:
        """Return {}: the kernels of a GPU take one rank for each adapter, and vLLM knows it."""
        return {}

    def find_fault(self, enter: Callable[[], None] = lambda: None) -> str | None:
        """Return what is wrong in the first and last slot after copies into both, or None.

        The copies run in a thread that called ``enter``, as those of loads do. Both slots are empty
        afterwards. No adapter may be loaded.
        """
        slots = sorted({0, len(self._pairs[0][1]) - 1})
        with ThreadPoolExecutor(1, initializer=enter) as thread:
            try:
                wrong = thread.submit(self._find_wrong, slots).result()
            finally:
                self._image.zero_()
                list(thread.map(self._send, slots))
        return f"slots {wrong} do not hold what was copied into them" if wrong else None

    def _find_wrong(self, slots: Sequence[int]) -> list[int]:
        bits = self._image.view(torch.uint8)
        chance = torch.Generator().manual_seed(7)
        noise = torch.randint(256, bits.shape, dtype=torch.uint8, generator=chance)
        for n, slot in enumerate(slots):
            torch.bitwise_xor(noise, n, out=bits)
            self._send(slot)
        wrong = []
        for n, slot in enumerate(slots):
            torch.bitwise_xor(noise, n, out=bits)
            if not self._holds(slot):
                wrong.append(slot)
        return wrong

    def _split(self, layers: Mapping[str, Any]) -> dict[str, _Image]:
        """Return the image as layers with a single slot."""
        found, pairs = {}, iter(self._pairs)
        for name, layer in layers.items():
            a = [next(pairs)[0] for _ in layer.lora_a_stacked]
            b = [next(pairs)[0] for _ in layer.lora_b_stacked]
            by_rank = tuple(as_stored(part)[None].swapaxes(2, 3) for part in b)
            found[name] = _Image(a, (tuple(as_stored(part)[None] for part in a), by_rank))
        return found

    def _send(self, slot: int) -> None:
        with self._link.copying():
            for part, stack in self._pairs:
                stack[slot].copy_(part, non_blocking=True)

    def _holds(self, slot: int) -> bool:
        return all(
            torch.equal(stack[slot].cpu().view(torch.uint8), part.view(torch.uint8))
            for part, stack in self._pairs
        )


class _Link:
    """The way to a device. Without a GPU a copy is done when it returns."""

    def __init__(self, device: torch.device) -> None:
        self._steps = torch.cuda.current_stream(device) if device.type == "cuda" else None
        self._copies = torch.cuda.Stream(device) if device.type == "cuda" else None

    def wait_for_steps(self) -> None:
        """Return when the steps are done that were launched before."""
        if self._steps is not None:
            launched = torch.cuda.Event(blocking=True)
            launched.record(self._steps)
            launched.synchronize()

    @contextmanager
    def copying(self) -> Iterator[None]:
        """Run copies on a stream of their own; return when they are done."""
        if self._copies is None:
            with torch.inference_mode():
                yield
            return
        try:
            with torch.inference_mode(), torch.cuda.stream(self._copies):
                yield
        finally:
            self._copies.synchronize()


def _allocate(stacks: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return zeros for one slot of all ``stacks``, pinned if they are on a GPU."""
    if not stacks or {stack.dtype for stack in stacks} - STORED.keys():
        raise ValueError("the stacks are none, or not in float32 or bfloat16")
    if len({(stack.dtype, stack.device) for stack in stacks}) > 1:
        raise ValueError("the stacks have several dtypes or devices")
    if not all(stack.is_contiguous() for stack in stacks):
        raise ValueError("the stacks of a layer are not in vLLM's order")
    size = sum(stack[0].numel() for stack in stacks)
    return torch.zeros(size, dtype=stacks[0].dtype, pin_memory=stacks[0].is_cuda)
