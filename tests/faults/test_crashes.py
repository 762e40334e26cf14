"""kill -9 at every step of everything that changes the state: before or after, never between.

Of an adapter that was published but not proved when the server died, ``Staging.resume`` makes
what was asked for: the state after. So both halves of the two commits end in the same place.
"""

import difflib
import json
import queue
import shutil
import signal
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support import builders, crashing
from support.serving import POLL_S
from veneer_adapters.artifact.files import FILES, digest_of
from veneer_adapters.artifact.opening import sha256_of

pytestmark = pytest.mark.slow

SETTLED_S = 1.1
"""A folder that was the same for this long is staged by the first look of a server."""


@dataclass(frozen=True)
class Stage:
    """Warm processes, and the two states that operations begin with."""

    top: Path
    free: "queue.Queue[crashing.Forks]"

    @property
    def sources(self) -> Path:
        return self.top / "sources"

    def copy(self, operation: str, case: str) -> Path:
        """Return a folder of its own in which ``operation`` is about to happen."""
        seed = self.top / ("found" if operation in crashing.FOUND else "asked")
        made = Path(shutil.copytree(seed, self.top / operation / case))
        if operation in crashing.FOUND and case != "before":
            crashing.FOUND[operation](made / "adapters")
        return made

    def run(self, folder: Path, wanted: str, fault: str | None = None) -> crashing.Ended:
        forks = self.free.get(timeout=crashing.LONGEST_S)
        try:
            return forks.run(folder, self.sources, wanted, fault)
        finally:
            self.free.put(forks)

    def told(self, folder: Path, wanted: str) -> dict[str, Any]:
        """Return what a server told that nothing happened to."""
        ended = self.run(folder, wanted)
        assert ended.told is not None, (folder / "server.log").read_text()[-3000:]
        return ended.told

    def look(self, folder: Path) -> dict[str, Any]:
        """Return what clients of the next server see; it left nothing half-done on the disk."""
        found = self.told(folder, "look")
        assert list((folder / "state" / "store" / "tmp").iterdir()) == []
        return found


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    made = Stage(tmp_path_factory.mktemp("crashes"), queue.Queue())
    builders.write(made.top / "found" / "adapters" / "dropped")
    (made.top / "asked").mkdir()
    until_settled([made.top])
    with crashing.forks() as first, crashing.forks() as second:
        made.free.put(first)
        for seed in ("found", "asked"):
            assert made.run(made.top / seed, "prepare").code == 0
        made.free.put(second)
        yield made


def until_settled(folders: Iterable[Path]) -> None:
    newest = max(each.stat().st_ctime for folder in folders for each in folder.rglob("*"))
    while time.time() < newest + SETTLED_S:
        time.sleep(POLL_S)


def assert_whole(folder: Path) -> None:
    """Whoever looks at the store, without a word from a server, sees complete content only."""
    for content in (folder / "state" / "store" / "sha256").glob("*/*"):
        assert {file.name for file in content.iterdir()} == set(FILES)
        assert digest_of({name: sha256_of(content / name) for name in FILES}) == content.name


def difference(wanted: Any, found: Any) -> str:
    texts = [json.dumps(each, indent=1, sort_keys=True).splitlines() for each in (wanted, found)]
    return "\n".join(difflib.unified_diff(*texts, "the state after", "found", n=2, lineterm=""))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("operation", [*crashing.ASKED, *crashing.FOUND])
def test_d1_kill_9_at_any_step_leaves_the_state_before_or_after(
    stage: Stage, operation: str
) -> None:
    folders = [stage.copy(operation, case) for case in ("before", "after")]
    until_settled(folders)
    before = stage.look(folders[0])
    passed = stage.told(folders[1], operation)
    after = stage.look(folders[1])
    assert before["seen"] != after["seen"]
    faults = [f"{point}:{n}:kill" for point in passed for n in range(1, passed[point] + 1)]
    assert passed["catalog.committed"] >= 1
    cases = {fault: stage.copy(operation, fault) for fault in faults}
    until_settled(cases.values())

    def check(fault: str) -> None:
        ended = stage.run(cases[fault], operation, fault)
        assert (ended.code, ended.told) == (-signal.SIGKILL, None), fault
        assert_whole(cases[fault])
        found = stage.look(cases[fault])
        for what in ("seen", "at_once"):
            is_known = found[what] in (before[what], after[what])
            assert is_known, f"{fault}:\n{difference(after[what], found[what])}"

    with ThreadPoolExecutor(2) as threads:
        for _ in threads.map(check, faults):
            pass
    shutil.rmtree(stage.top / operation)
