"""What happens to adapters, for whoever counts; every observer is told the same."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Protocol

Level = Literal["device", "host"]
Origin = Literal["disk", "host"]
Outcome = Literal["loaded", "failed"]
Reason = Literal["errors", "schema"]
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
