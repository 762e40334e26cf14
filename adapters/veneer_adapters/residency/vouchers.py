"""Who says whether a revision may be used."""

from typing import Protocol

from veneer_adapters.catalog.revision import Revision
from veneer_adapters.residency.weights import Weights


class Voucher(Protocol):
    """Says whether a revision may be used; asked before and after each load from disk."""

    async def before_load(self, revision: Revision) -> Weights:
        """Return what to load for ``revision``, when it is undamaged; raises AdapterError."""

    async def after_load(self, revision: Revision, engine_id: int) -> None:
        """Return when ``revision`` does what it should in the engine; raises AdapterError."""


class Trusting:
    """The voucher that accepts every revision."""

    async def before_load(self, revision: Revision) -> Weights:
        """Accept the files without a check."""
        return Weights(revision.path)

    async def after_load(self, revision: Revision, engine_id: int) -> None:
        """Accept the loaded revision without a check."""
