"""What residency needs from outside, and whom it tells: two seams, implemented by the server."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal, Protocol

from veneer_adapters.canary import Reason
from veneer_adapters.policy import Level
from veneer_adapters.proof import Effect

Outcome = Literal["loaded", "failed"]
Origin = Literal["disk", "host"]
EvictionReason = Literal["room", "forgotten", "load_failed"]


class LoadStage(StrEnum):
    """The parts of making an adapter usable, in the order they happen."""

    STAGE = "stage"
    """From a folder to a verified revision: copy, verify, publish. Nobody waits for it."""
    LOAD = "load"
    """From the store into a host slot and a device slot."""
    ACTIVATE = "activate"
    """From a host slot into a device slot."""
    PROVE = "prove"
    """A short generation by a revision that has never been used before."""


@dataclass(frozen=True, slots=True)
class StageFinished:
    """One part of a load is over, well or not."""

    adapter: str
    stage: LoadStage
    seconds: float


@dataclass(frozen=True, slots=True)
class LoadFinished:
    """The engine can use the adapter now, or refused it."""

    adapter: str
    origin: Origin
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Evicted:
    """The adapter left a slot; at level ``device`` its host copy stayed."""

    adapter: str
    level: Level
    reason: EvictionReason


@dataclass(frozen=True, slots=True)
class ColdStart:
    """One request waited ``seconds`` for a slot and a load, and then had its adapter."""

    adapter: str
    seconds: float


@dataclass(frozen=True, slots=True)
class CanaryWatched:
    """The first request through a guarded alias, as it is now, has ended."""

    adapter: str


@dataclass(frozen=True, slots=True)
class CanaryTakenBack:
    """An alias went back to its previous targets, because a canary did worse in ``reason``."""

    adapter: str
    reason: Reason


AdapterEvent = StageFinished | LoadFinished | Evicted | ColdStart | CanaryWatched | CanaryTakenBack


class AdapterHost(Protocol):
    """The engine, as far as adapters are concerned. It never evicts by itself.

    Each call either succeeds or raises; after a raise the slot is cleaned by
    ``unload_adapter``, which must accept an id that is only half there or not there at all.
    """

    async def load_adapter(self, engine_id: int, engine_name: str, path: Path) -> None:
        """Read ``path`` into a host slot and copy it into a device slot."""

    async def activate_adapter(self, engine_id: int) -> None:
        """Copy the adapter from its host slot into a device slot."""

    async def deactivate_adapter(self, engine_id: int) -> None:
        """Free the device slot; the host copy stays. No request uses the adapter."""

    async def unload_adapter(self, engine_id: int) -> None:
        """Free the host slot and the device slot. No request uses the adapter."""

    async def measure_effect(self, engine_id: int, engine_name: str) -> Effect:
        """Return what the adapter, which is in a device slot, does to a short greedy answer.

        Costs two requests of a dozen tokens in and four out, side by side; where the change is
        so small that it may be rounding, up to eight times that. They queue like any others, so
        bound the wait. Nothing of them stays in the engine.

        Raises:
            LoadFailed: the adapter is not loaded.
        """


class Observer(Protocol):
    """Is told what happens, to count it; must not raise and must not wait."""

    def on_event(self, event: AdapterEvent) -> None:
        """Count one event; its ``adapter`` is a catalog name."""


class Observers:
    """Several observers, told as one."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def on_event(self, event: AdapterEvent) -> None:
        """Tell each of them."""
        for observer in self._observers:
            observer.on_event(event)


class Unobserved:
    """The observer that counts nothing."""

    def on_event(self, event: AdapterEvent) -> None:
        """Forget the event."""
