"""What happens to adapters, for metrics and traces; every observer gets the same events."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Protocol

Level = Literal["device", "host"]
Origin = Literal["disk", "host"]
Outcome = Literal["loaded", "failed"]
Reason = Literal["errors", "schema"]
EvictionReason = Literal["room", "forgotten", "load_failed"]


class LoadStage(StrEnum):
    """The parts of making an adapter usable, in the order in which they happen."""

    STAGE = "stage"
    """From a source to a published revision: fetch, copy, verify, publish. A request for an
    answer waits for it only when a lazy pull fetches its adapter."""
    LOAD = "load"
    """From the store into a host slot and a device slot."""
    ACTIVATE = "activate"
    """From a host slot into a device slot."""
    PROVE = "prove"
    """A short generation by a revision that has never been used before."""


@dataclass(frozen=True, slots=True)
class StageFinished:
    """One part of making an adapter usable has ended, with or without success."""

    adapter: str
    stage: LoadStage
    seconds: float


@dataclass(frozen=True, slots=True)
class LoadFinished:
    """A load has ended: the engine can use the adapter, or the load failed."""

    adapter: str
    origin: Origin
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Evicted:
    """The adapter left a slot. At level ``device`` its copy in the host slot stayed."""

    adapter: str
    level: Level
    reason: EvictionReason


@dataclass(frozen=True, slots=True)
class ColdStart:
    """One request waited ``seconds`` for a slot and a load, and then got its adapter."""

    adapter: str
    seconds: float


@dataclass(frozen=True, slots=True)
class CanaryWatched:
    """The first request through the current version of a guarded alias has ended."""

    adapter: str


@dataclass(frozen=True, slots=True)
class CanaryTakenBack:
    """The guard moved an alias back, because a canary did worse in ``reason``."""

    adapter: str
    reason: Reason


AdapterEvent = StageFinished | LoadFinished | Evicted | ColdStart | CanaryWatched | CanaryTakenBack


class Observer(Protocol):
    """Receives every event, to count or trace it. It must not raise and must not wait."""

    def on_event(self, event: AdapterEvent) -> None:
        """Take one event; its ``adapter`` is a catalog name."""


class Observers:
    """Several observers that act as one."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def on_event(self, event: AdapterEvent) -> None:
        """Pass the event to each observer."""
        for observer in self._observers:
            observer.on_event(event)


class Unobserved:
    """The observer that ignores every event."""

    def on_event(self, event: AdapterEvent) -> None:
        """Ignore the event."""
