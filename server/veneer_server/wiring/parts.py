"""What is given to this package, and what it gives back."""

from dataclasses import dataclass
from typing import Protocol

from veneer_adapters.canaries.guarding import Guarding
from veneer_adapters.catalog.catalog import Catalog
from veneer_adapters.catalog.database import Database
from veneer_adapters.catalog.upkeep import Upkeep
from veneer_adapters.catalog.usage import Usage
from veneer_adapters.lifecycle import State
from veneer_adapters.publishing.following import Following
from veneer_adapters.publishing.staging import Staging
from veneer_adapters.residency.hot_set import HotSet
from veneer_adapters.residency.residency import Residency
from veneer_adapters.sandbox.sandbox import Sandbox
from veneer_server.api.deps import Server
from veneer_server.background import Background
from veneer_server.batches.runner import Runner
from veneer_server.engine.base import Engine
from veneer_server.engine.sizing.sizes import Sizes
from veneer_server.files.upkeep import FileUpkeep
from veneer_server.serving.recovery import EngineRecovery
from veneer_server.settings import Settings
from veneer_server.telemetry.tracing import Tracing
from veneer_server.tenancy.keyring import Keyring
from veneer_server.training.jobs.runner import Runner as Training


@dataclass(frozen=True, slots=True)
class Given:
    """What ``app`` has started, or opened, before the other parts can be built."""

    settings: Settings
    sizes: Sizes
    engine: Engine
    tracing: Tracing
    database: Database
    keyring: Keyring
    sandbox: Sandbox
    background: Background


class Threaded(Protocol):
    """Something with threads."""

    def close(self) -> None:
        """Begin no further work in them."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a server: ``server`` for its routes, and those that ``app`` runs and ends."""

    server: Server
    catalog: Catalog
    staging: Staging
    residency: Residency
    following: Following
    hot_set: HotSet
    usage: Usage
    upkeep: Upkeep
    file_upkeep: FileUpkeep
    runner: Runner
    training: Training
    guarding: Guarding
    recovery: EngineRecovery
    background: Background
    threads: tuple[Threaded, ...]
    """What has threads of its own and may still be waiting for them at the end."""

    async def warm(self, room: int) -> None:
        """Load the pinned adapters, then the most used ones, until ``room`` are in slots."""
        ready = {a.name: a.live for a in self.catalog.adapters() if a.live}
        names = await self.usage.most_used(room)
        hot = [ready[name] for name in names if name in ready]
        await self.hot_set.load([r for r in hot if r.state is State.READY], room=room)
