"""How many adapters a namespace may have, and how many bytes of them.

Only what somebody asks for by request is held to it. What lies in a watched folder was put there by
whoever runs the server, and counts.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from veneer_adapters.catalog.catalog import Catalog
from veneer_adapters.errors import QuotaExceeded
from veneer_adapters.lifecycle import State


@dataclass(frozen=True, slots=True)
class Allowance:
    """The most that a namespace may have; None means any number."""

    adapters: int | None = None
    size_bytes: int | None = None
    """Of all its revisions that can still be asked for; equal content counts once."""


OfNamespace = Callable[[str], Allowance]
_NOTHING_SAID = Allowance()


class Allowances:
    """Counts what the catalog has, and what is just being published."""

    def __init__(
        self, catalog: Catalog, of_namespace: OfNamespace = lambda _: _NOTHING_SAID
    ) -> None:
        self._catalog = catalog
        self._of_namespace = of_namespace
        self._arriving: dict[str, tuple[str, int]] = {}

    def require_place(self, name: str, arriving: Collection[str]) -> None:
        """Return when the namespace of ``name`` may have it, beside those that are ``arriving``.

        Raises:
            QuotaExceeded: it has as many adapters as it may have.
        """
        namespace = _namespace_of(name)
        most = self._of_namespace(namespace).adapters if namespace else None
        if most is None:
            return
        others = {other for other in arriving if _namespace_of(other) == namespace}
        others |= self._catalog.namespace(namespace).keys()
        if name not in others and len(others) >= most:
            raise QuotaExceeded(
                f"{namespace} has {len(others)} adapters and may have {most}. Remove one first."
            )

    @contextmanager
    def room(self, name: str, digest: str, size_bytes: int) -> Iterator[None]:
        """Hold room for content of ``name`` until the block ends; then the catalog counts it.

        Raises:
            QuotaExceeded: with it the namespace has more bytes than it may have.
        """
        namespace = _namespace_of(name)
        most = self._of_namespace(namespace).size_bytes if namespace else None
        if most is None:
            yield
            return
        sizes = self._sizes(namespace)
        if digest not in sizes and sum(sizes.values()) + size_bytes > most:
            raise QuotaExceeded(
                f"{namespace} stores {sum(sizes.values())} bytes and may store {most}; this"
                f" content has {size_bytes}. Remove an adapter first."
            )
        held = f"{name}@{digest}"
        self._arriving[held] = (digest, size_bytes)
        try:
            yield
        finally:
            self._arriving.pop(held, None)

    def _sizes(self, namespace: str) -> dict[str, int]:
        """Return the size of each content of the namespace, by digest."""
        revisions = [r for found in self._catalog.namespace(namespace).values() for r in found]
        sizes = {r.digest: r.manifest.size_bytes for r in revisions if r.state is not State.FAILED}
        mine = (size for held, size in self._arriving.items() if _namespace_of(held) == namespace)
        return sizes | dict(mine)


def _namespace_of(name: str) -> str:
    """Return the part before the slash; empty when there is none."""
    namespace, slash, _ = name.partition("/")
    return namespace if slash else ""
