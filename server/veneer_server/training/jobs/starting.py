"""The adapter from which a job goes on: found by its name, and copied into the job's folder.

With a copy the job goes on the same way whatever becomes of the adapter meanwhile.
"""

import shutil
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from typing import Protocol

from veneer_adapters.artifact.files import CONFIG_FILE, WEIGHTS_FILE
from veneer_adapters.catalog.catalog import Catalog
from veneer_adapters.catalog.revision import Revision
from veneer_adapters.names import Selector, parse_model
from veneer_adapters.threads import in_thread
from veneer_server.training.folder import START_CONFIG, START_WEIGHTS
from veneer_server.training.jobs.folders import disk


class Starts(Protocol):
    """The adapters that there are."""

    def find(self, model: str, bases: Collection[str]) -> Revision | None:
        """Return the revision that ``model`` names now, None for one of the ``bases``.

        Of a name whose requests are split it is the revision that most of them get.

        Raises:
            AdapterError: there is none, or it cannot serve.
        """

    async def copy(self, revision: Revision, to: Path) -> None:
        """Write its two files into the new folder ``to``.

        Raises:
            AdapterError: they are lost.
            JobsUnavailable: the disk cannot be written.
        """


class CatalogStarts:
    """See ``Starts``."""

    def __init__(self, catalog: Catalog, restore: Callable[[Revision], Awaitable[None]]) -> None:
        """``restore`` returns when the files of a revision are in the store, or raises."""
        self._catalog = catalog
        self._restore = restore

    def find(self, model: str, bases: Collection[str]) -> Revision | None:
        """Return what the catalog says now."""
        selector = parse_model(model, bases)
        if selector is None:
            return None
        found = self._catalog.resolve(selector)
        if selector.alias is None:
            return found
        main = self._catalog.alias(selector.adapter, selector.alias).main
        return self._catalog.resolve(Selector(selector.adapter, number=main))

    async def copy(self, revision: Revision, to: Path) -> None:
        """Copy them from the store; lost ones are fetched from their source first."""
        await self._restore(revision)
        with disk():
            await in_thread(_copy, revision.path, to)


def _copy(path: Path, to: Path) -> None:
    to.mkdir()
    for name, kept in ((CONFIG_FILE, START_CONFIG), (WEIGHTS_FILE, START_WEIGHTS)):
        shutil.copyfile(path / name, to / kept)
