"""Adapters on the Hugging Face Hub: ``hf://org/name[@revision][/subfolder]``.

A revision is first resolved to a commit, and both files come from that commit. Cache, token,
endpoint and offline mode are those of huggingface_hub (HF_HOME, HF_TOKEN, ...). That library blocks
and retries by itself, so it runs in a thread that learns when nobody waits any more.
"""

import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from huggingface_hub import HfApi, constants

from veneer_adapters.artifact.files import FILES
from veneer_adapters.artifact.opening import sha256_of
from veneer_adapters.errors import ChecksumMismatch, MissingFile, SourceNotAllowed, quoted
from veneer_adapters.sources.fetching import Fetched, OnBytes
from veneer_adapters.sources.hub_errors import translated
from veneer_adapters.sources.hub_thread import Threads, Work
from veneer_adapters.sources.locations import parse_location
from veneer_adapters.threads import in_thread

_TIMEOUT_S = 10.0
_SHA256_CHARS = 64
_ANY = "*"


@dataclass(frozen=True, slots=True)
class Repository:
    """The repository that a location on the Hub names."""

    id: str
    revision: str | None
    subfolder: str

    def at(self, commit: str) -> str:
        """Return the location of the same repository and subfolder at one commit."""
        return f"hf://{self.id}@{commit}{'/' if self.subfolder else ''}{self.subfolder}"


def parse_repository(text: str) -> Repository:
    """Return what ``text`` names. A revision has no slash, except ``refs/<kind>/<name>``.

    Raises:
        SourceNotAllowed: it is not a location on the Hub.
    """
    location = parse_location(text)
    if location.scheme != "hf" or not location.path or location.pin or ":" in location.place:
        raise SourceNotAllowed("A source on the Hub has the form hf://organisation/name@revision.")
    named, *below = location.path
    name, marked, revision = named.partition("@")
    if revision == "refs" and len(below) > 1:
        revision, below = "/".join(["refs", *below[:2]]), below[2:]
    if not name or (marked and not revision):
        raise SourceNotAllowed("A source on the Hub has the form hf://organisation/name@revision.")
    return Repository(f"{location.place}/{name}", revision or None, "/".join(below))


class HubFetcher:
    """Fetches from the repositories of ``orgs``; ``*`` among them allows every organisation.

    ``endpoint``, ``token`` and ``cache_dir`` replace those of the environment.
    """

    schemes = frozenset({"hf"})

    def __init__(
        self,
        orgs: Collection[str],
        *,
        endpoint: str | None = None,
        token: str | None = None,
        cache_dir: Path | None = None,
    ) -> None:
        self._orgs = frozenset(orgs)
        self._api = HfApi(endpoint=endpoint, token=token)
        self._cache_dir = cache_dir
        self._threads = Threads()

    def whom(self, location: str) -> str:
        """Return the Hub: it limits what one address or token asks, whatever that is."""
        return "hf"

    async def fetch(self, location: str, into: Path, on_bytes: OnBytes) -> Fetched:
        """Fetch both files of the repository at ``location``; see ``Fetcher``."""
        repository = parse_repository(location)
        org = repository.id.partition("/")[0]
        if _ANY not in self._orgs and org not in self._orgs:
            raise SourceNotAllowed(f"Adapters may not come from {quoted(org)} on the Hub.")
        commit, *files = await self._threads.run(partial(self._download, repository), on_bytes)
        size = await in_thread(_bytes, files)
        on_bytes(size, size)
        for name, cached in zip(FILES, files, strict=True):
            await in_thread(shutil.copyfile, cached, into / name)
        return Fetched(into, repository.at(commit))

    def _download(self, repository: Repository, work: Work) -> tuple[str, str, str]:
        with translated(repository.id):
            commit = self._resolve(repository, work)
            config, weights = (self._file(repository, name, commit, work) for name in FILES)
        return commit or _commit_of(Path(config), repository), config, weights

    def _resolve(self, repository: Repository, work: Work) -> str | None:
        if constants.is_offline_mode():
            return None
        found = self._api.model_info(
            repository.id, revision=repository.revision, files_metadata=True, timeout=_TIMEOUT_S
        )
        prefix = f"{repository.subfolder}/" if repository.subfolder else ""
        sizes = {file.rfilename: file.size for file in found.siblings or ()}
        for name in FILES:
            if prefix + name not in sizes:
                raise MissingFile(f"{quoted(repository.id)} has no {quoted(prefix + name)}.")
        work.expect([sizes[prefix + name] for name in FILES])
        return found.sha

    def _file(self, repository: Repository, name: str, commit: str | None, work: Work) -> str:
        path = self._api.hf_hub_download(
            repository.id,
            name,
            subfolder=repository.subfolder or None,
            revision=commit or repository.revision,
            cache_dir=self._cache_dir,
            tqdm_class=work.bar(),
        )
        _require_own_content(Path(path), name)
        return path


def _bytes(paths: Sequence[str]) -> int:
    return sum(Path(path).stat().st_size for path in paths)


def _require_own_content(path: Path, name: str) -> None:
    # In the cache, the name of a large file is its sha256, as the Hub states it.
    content = path.resolve()
    if len(content.name) == _SHA256_CHARS and sha256_of(content) != content.name:
        content.unlink(missing_ok=True)
        raise ChecksumMismatch(f"{quoted(name)} does not match the checksum of the Hub.")


def _commit_of(config: Path, repository: Repository) -> str:
    # <cache>/snapshots/<commit>/<subfolder>/<file>
    return config.parents[len(Path(repository.subfolder).parts)].name
