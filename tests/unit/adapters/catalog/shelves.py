"""A catalog as tests fill it."""

from dataclasses import replace
from pathlib import Path

from support import builders
from veneer_adapters.catalog.catalog import Arrival, Catalog
from veneer_adapters.catalog.database import Database
from veneer_adapters.catalog.proof import Effect
from veneer_adapters.catalog.revision import Revision, Source
from veneer_adapters.lifecycle import State
from veneer_adapters.names import Selector

NOW = 1_700_000_000


LIVE_A = Selector("a", alias="live")


FOLDER, PATH = builders.FOLDER, Source("path", "elsewhere")


EFFECT = Effect(modules=2, largest_change=0.5, finite=True, repeats=False)


def digest(of: str) -> str:
    return of * (64 // len(of))


def stored(of: str) -> Path:
    return Path("/store") / of[:4]


def arrival(name: str, of: str, source: Source = FOLDER, **more: object) -> Arrival:
    made = Arrival(name, digest(of), stored(digest(of)), builders.MANIFEST, source)
    return replace(made, **more)  # type: ignore[arg-type]


async def open_catalog(database: Database) -> Catalog:
    return await Catalog.open(database, stored, now=lambda: NOW)


async def publish(catalog: Catalog, name: str, of: str, source: Source = FOLDER) -> Revision:
    """Add and prove, as publishing does; return the revision as it is then."""
    added = await catalog.add(arrival(name, of, source))
    if added.state is State.STAGED:
        await catalog.prove(added, EFFECT)
    return catalog.current(added)
