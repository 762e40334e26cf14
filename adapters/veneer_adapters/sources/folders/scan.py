"""Look at watched folders: which adapters lie in them, and in which state their files are.

An adapter is a folder in a root, at any depth; ``naming`` says what it is called. What cannot be
looked at is ignored with a reason, and what was found there before counts until it can be.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from veneer_adapters.errors import quoted
from veneer_adapters.names import is_adapter_name
from veneer_adapters.sources.base import Root
from veneer_adapters.sources.folders.entries import Identity, Ignored, is_passing, listing, why
from veneer_adapters.sources.folders.search import Found, Search
from veneer_adapters.sources.folders.settling import Seen, Signature


class Scanner:
    """Remembers what each look found, so that the next one need not look everywhere."""

    def __init__(self, roots: Sequence[Root]) -> None:
        """Look into ``roots``. If two folders have the same name, the earlier root wins."""
        self._roots = roots
        self._found: dict[Root, dict[str, Found]] = {root: {} for root in roots}
        self._ignored: list[Ignored] = []
        """Roots that could not be looked at."""
        self._unread: set[Path] = set()
        self._folders: dict[Root, Identity] = {}

    def scan(self) -> None:
        """Look at everything. Blocks, raises nothing. A root that does not exist is empty."""
        self._ignored.clear()
        self._unread.clear()
        self._folders.clear()
        for root in self._roots:
            try:
                self._look_into(root)
            except FileNotFoundError:
                self._found[root] = {}
            except OSError as error:
                self._cannot_look_into(root, error)

    def scan_near(self, paths: Iterable[Path]) -> None:
        """Look again at the folders directly below a root in which ``paths`` lie. Blocks."""
        touched = set(paths)
        named = {place for path in touched for place in self._places(path)}
        for root, top in named | self._linked(touched | {path.parent for path in touched}):
            self._look(root, top)

    def seen(self, now_s: float) -> tuple[dict[str, Seen], list[Ignored]]:
        """Return what the looks found, by name, and what cannot be served.

        ``now_s`` is in seconds since 1970, on the clock of the file system.
        """
        seen: dict[str, Seen] = {}
        ignored = [*self._ignored, *(i for f in self._all() for i in f.ignored)]
        for root, name, folder, signature in self._adapters():
            reason = _why_not(name, root, folder, seen.get(name))
            if reason:
                ignored.append(Ignored(name, folder, reason))
            else:
                seen[name] = Seen(folder, root, signature, now_s - _newest_s(signature))
        return seen, ignored

    def unread(self) -> frozenset[Path]:
        """Return the folders that could not be looked at: what lies there may still be there."""
        return frozenset(self._unread.union(*(found.unread for found in self._all())))

    def folders(self) -> dict[Path, Identity]:
        """Return every folder in which a change can matter."""
        every = {root.path: identity for root, identity in self._folders.items()}
        for found in self._all():
            every |= found.folders
        return every

    def _all(self) -> Iterator[Found]:
        for tops in self._found.values():
            yield from tops.values()

    def _adapters(self) -> Iterator[tuple[Root, str, Path, Signature]]:
        for root in self._roots:
            for _, found in sorted(self._found[root].items()):
                for folder, (name, signature) in found.adapters.items():
                    yield root, name, folder, signature

    def _places(self, path: Path) -> Iterator[tuple[Root, str]]:
        for root in self._roots:
            if path.is_relative_to(root.path) and path != root.path:
                top = path.relative_to(root.path).parts[0]
                if not top.startswith("."):
                    yield root, top

    def _linked(self, touched: set[Path]) -> set[tuple[Root, str]]:
        # A link may lead to a folder with another name, or to a hidden one.
        return {
            (root, top)
            for root, tops in self._found.items()
            for top, found in tops.items()
            if not touched.isdisjoint(found.folders)
        }

    def _look_into(self, root: Root) -> None:
        seen = listing(root.path)
        self._folders[root] = seen.identity
        for gone in self._found[root].keys() - set(seen.others):
            del self._found[root][gone]
        for top in seen.others:
            self._look(root, top)

    def _cannot_look_into(self, root: Root, error: OSError) -> None:
        self._ignored.append(Ignored(root.path.name, root.path, why(error)))
        if is_passing(error):
            self._unread.add(root.path)
        else:
            self._found[root] = {}

    def _look(self, root: Root, top: str) -> None:
        found = Search(root.path, top).run().completed(self._found[root].get(top, Found()))
        if found == Found():
            self._found[root].pop(top, None)
        else:
            self._found[root][top] = found


def _why_not(name: str, root: Root, folder: Path, taken: Seen | None) -> str | None:
    if not is_adapter_name(name):
        if folder.parent == root.path:
            return "its name is not an adapter name"
        return (
            f"its name would be {quoted(name)}, which is not an adapter name: rename the folders,"
            " or add the folder in which it lies to `adapters.roots`"
        )
    if taken is None:
        return None
    if taken.root == root:
        return f"{quoted(taken.folder.relative_to(root.path))} has the same name: rename one"
    return "an earlier root has an adapter of this name"


def _newest_s(signature: Signature) -> float:
    # ctime, because no copying tool can set it back, unlike mtime.
    return max(ctime_ns for _, _, _, ctime_ns, _ in signature) / 1e9
