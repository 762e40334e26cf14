"""Each step of the store dies, or fails, once: what is stored is whole or not there."""

import itertools
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from support import builders, store_story, storing
from support.places import TESTS
from veneer_adapters.artifact.files import FILES, digest_of
from veneer_adapters.artifact.opening import sha256_of
from veneer_adapters.errors import CacheFull, StorageFailed
from veneer_adapters.faults import POINTS, disarm
from veneer_adapters.store.store import Store

pytestmark = pytest.mark.slow

MOST = 100
"""More than the story ever passes one point."""
STORE_POINTS = [point for point in POINTS if point.startswith(("store.", "source."))]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three adapters of one size."""
    folder = tmp_path_factory.mktemp("sources")
    for seed, name in enumerate("abc"):
        builders.write(folder / name, seed=seed)
    return folder


@pytest.fixture(scope="module")
def quota_bytes(sources: Path) -> int:
    """Room for two of them."""
    return 2 * sum(file.stat().st_size for file in (sources / "a").iterdir())


def stored(root: Path) -> dict[str, Path]:
    return {folder.name: folder for folder in (root / "sha256").glob("*/*")}


def assert_whole(root: Path) -> None:
    """Whoever looks at the folder, without a word from the store, sees complete content only."""
    for digest, folder in stored(root).items():
        assert {file.name for file in folder.iterdir()} == set(FILES)
        assert digest_of({name: sha256_of(folder / name) for name in FILES}) == digest


def assert_sound(store: Store, root: Path) -> None:
    """The store knows what there is, and all of it is read-only."""
    found = stored(root)
    sizes = [file.stat().st_size for folder in found.values() for file in folder.iterdir()]
    assert store.total_bytes == sum(sizes)
    for digest, folder in found.items():
        assert store.path(digest) == folder
        assert storing.has(store, digest)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o555
        assert store.check(digest)


def runs(root: Path, sources: Path, quota_bytes: int, fault: str) -> int:
    command = [sys.executable, "-m", store_story.__name__, str(root), str(sources)]
    done = subprocess.run([*command, str(quota_bytes), fault], cwd=TESTS, timeout=60, check=False)
    return done.returncode


@pytest.mark.parametrize("point", STORE_POINTS)
def test_kill_9_at_any_step_leaves_each_content_whole_or_absent(
    point: str, sources: Path, quota_bytes: int, tmp_path: Path
) -> None:
    for n in itertools.count(1):
        root = tmp_path / str(n)
        code = runs(root, sources, quota_bytes, f"{point}:{n}:kill")
        assert_whole(root)
        store = Store(root, quota_bytes=quota_bytes, needed=frozenset)
        assert list((root / "tmp").iterdir()) == []
        assert_sound(store, root)
        store_story.tell(store, sources)
        assert_sound(store, root)
        if code == 0:
            break
        assert code == -signal.SIGKILL
        assert n < MOST
    assert n > 1, "the story never came by this point"


@pytest.mark.parametrize("what", ["error", "enospc"])
@pytest.mark.parametrize("times", ["", "+"])
@pytest.mark.parametrize("point", STORE_POINTS)
def test_an_error_at_any_step_is_told_and_leaves_each_content_whole_or_absent(
    point: str,
    times: str,
    what: str,
    *,
    sources: Path,
    quota_bytes: int,
    tmp_path: Path,
    armed: Callable[[str], None],
) -> None:
    for n in itertools.count(1):
        root = tmp_path / str(n)
        store = Store(root, quota_bytes=quota_bytes * 3 // 2, needed=frozenset)
        before = builders.write(tmp_path / "before", seed=9)
        kept = storing.put(store, before)[0]  # held: nothing may take it away
        shutil.rmtree(before)
        armed(f"{point}:{n}{times}:{what}")
        failed = None
        try:
            store_story.tell(store, sources)
        except StorageFailed as error:
            failed = error
        passed = disarm()[point]
        assert_whole(root)
        assert_sound(store, root)
        assert storing.has(store, kept)
        left = {file.name for file in (root / "tmp").iterdir()}
        assert all(name.startswith("removed-") for name in left)
        assert failed is None or isinstance(failed, CacheFull) == (what == "enospc")
        if passed < n:
            break
        assert n < MOST
    assert n > 1, "the story never came by this point"
