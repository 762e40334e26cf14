"""Which kernels serve on this card: the fastest that compute the right thing. Pure.

Ours serve a kind of batch only where they were faster than vLLM's in every measurement of that
kind, on this very card and with this model's layers.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from veneer_server.engine.vllm.cuda.plans import SMALL, Layer

ROWS = (8, 64, 256, 2048)
"""Sizes of the batches that are timed: three decode steps and a prompt."""
ADAPTERS = 16
"""Most adapters that share a timed batch."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Milliseconds that all adapters of a model add to one step."""

    rows: int
    vllm: float
    ours: float


@dataclass(frozen=True, slots=True)
class Choice:
    """Which batches ours compute, and why."""

    small: bool
    large: bool
    timings: tuple[Timing, ...]
    reason: str

    @property
    def served(self) -> str:
        """Return the kernels that serve, in one word for each kind of batch."""
        words = {(True, True): "veneer", (False, False): "vllm", (True, False): "veneer, vllm"}
        return words.get((self.small, self.large), "vllm, veneer")


def choose(timings: Sequence[Timing]) -> Choice:
    """Return the choice that the timings make; without any, vLLM's kernels serve."""
    small = [one for one in timings if one.rows <= SMALL]
    large = [one for one in timings if one.rows > SMALL]
    return Choice(_win(small), _win(large), tuple(timings), "timed on this card")


def keep_vllms(reason: str) -> Choice:
    """Return the choice of vLLM's kernels without a measurement."""
    return Choice(small=False, large=False, timings=(), reason=reason)


def say(choice: Choice) -> str:
    """Return the choice and its figures in one line for the log."""
    figures = ", ".join(
        f"{one.rows} rows {one.vllm:.2f} / {one.ours:.2f} ms" for one in choice.timings
    )
    told = f" (vLLM's / ours: {figures})" if figures else ""
    return f"LoRA kernels that serve: {choice.served}; {choice.reason}{told}"


def key_of(facts: Mapping[str, Any], layers: Sequence[Layer]) -> str:
    """Return the name under which a choice is kept: another one for another card or model."""
    known = {**facts, "shapes": sorted(json.dumps(asdict(layer)) for layer in layers)}
    text = json.dumps(known, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def to_json(choice: Choice) -> str:
    """Return the choice as it is kept."""
    return json.dumps(asdict(choice))


def from_json(text: str) -> Choice | None:
    """Return a kept choice, or None if the text is not one."""
    try:
        kept = json.loads(text)
        timings = tuple(
            Timing(int(one["rows"]), float(one["vllm"]), float(one["ours"]))
            for one in kept["timings"]
        )
    except (ValueError, TypeError, KeyError):
        return None
    return choose(timings) if timings else None


def _win(timings: Sequence[Timing]) -> bool:
    return bool(timings) and all(one.ours < one.vllm for one in timings)
