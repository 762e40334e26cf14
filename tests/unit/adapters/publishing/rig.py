"""What publishes in a test: a store, a catalog, a stager, and watches that tell a story."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from support import builders
from veneer_adapters import errors
from veneer_adapters.artifact.checks import verify
from veneer_adapters.catalog.catalog import Catalog, Entry
from veneer_adapters.catalog.proof import Effect
from veneer_adapters.catalog.revision import Revision, Source
from veneer_adapters.publishing.following import Following
from veneer_adapters.publishing.intake import Intake
from veneer_adapters.publishing.publishing import Publishing
from veneer_adapters.publishing.staging import Offer, Staging
from veneer_adapters.sources.base import Change, Changed, Root
from veneer_adapters.sources.local import FolderWatch
from veneer_adapters.store.store import Store


class Rig:
    """A store, a catalog and a stager in one folder; the adapters lie in another."""

    def __init__(self, tmp_path: Path, catalog: Catalog) -> None:
        self.root = Root(tmp_path / "adapters")
        self.root.path.mkdir(exist_ok=True)
        self.tmp = tmp_path / "store" / "tmp"
        self.store = Store(tmp_path / "store", needed=catalog.digests)
        self.catalog = catalog
        self.proved: list[str] = []
        self.refusal: errors.AdapterError | None = None
        """What the next proofs raise."""
        self.retired: list[int] = []
        catalog.watch(self._on_change)
        intake = Intake(
            self.store, lambda folder: verify(folder, builders.FACTS), roots=[self.root]
        )
        publishing = Publishing(catalog, self._prove)
        reserved = {"base": "the name of the base model"}
        self.staging = Staging(intake, catalog, publishing, reserved=reserved)
        self.following = Following(self.staging, catalog)

    async def _prove(self, revision: Revision) -> None:
        self.proved.append(revision.label)
        if isinstance(self.refusal, errors.AdapterRejected):
            await self.catalog.refuse(revision, self.refusal)
        if self.refusal is not None:
            raise self.refusal
        await self.catalog.prove(revision, Effect(2, 0.5, finite=True, repeats=False))

    def _on_change(self, before: Entry | None, after: Entry) -> None:
        still = {r.number for r in after.targeted()}
        gone = before.targeted() if before else frozenset()
        self.retired += [r.number for r in gone if r.number not in still]

    def source(self, name: str) -> Source:
        return Source("folder", str(self.root.path / name))

    async def stage(self, name: str) -> Revision:
        """Stage the folder ``name`` as a watched one."""
        return await self.staging.stage_folder(Offer(name, self.source(name)), self.root)

    async def request(self, name: str, path: Path, **more: Any) -> Revision:
        """Stage ``path`` as a request does."""
        return await self.staging.stage(Offer(name, Source("path", str(path)), **more))

    def live(self, name: str) -> int | None:
        """Return the number that is live, or None."""
        found = {a.name: a.live.number for a in self.catalog.adapters() if a.live}
        return found.get(name)

    def states(self) -> dict[str, tuple[str, str | None]]:
        return {a.name: (str(a.state), a.reason) for a in self.catalog.adapters()}


class Script:
    """A watch that tells what the test wrote down, and then nothing more."""

    def __init__(self, *told: Change) -> None:
        self.told = told
        self.retried: list[str] = []
        self.told_all = asyncio.Event()

    async def changes(self) -> AsyncGenerator[Change]:
        for change in self.told:
            yield change
        self.told_all.set()
        await asyncio.Event().wait()

    def retry(self, name: str) -> None:
        self.retried.append(name)


@asynccontextmanager
async def following(rig: Rig, watch: Script | FolderWatch) -> AsyncIterator[None]:
    async with asyncio.timeout(5):
        task = asyncio.create_task(rig.following.follow(watch))
        try:
            await rig.following.initial_scan_done.wait()
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])


async def until(is_so: Callable[[], bool]) -> None:
    """Return once ``is_so``; the caller's timeout bounds the wait."""
    while not is_so():
        await asyncio.sleep(0.005)


def changed(rig: Rig, name: str) -> Changed:
    return Changed(name, rig.root.path / name, rig.root)
