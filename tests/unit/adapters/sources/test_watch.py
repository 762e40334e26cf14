"""Real folders, really watched: what is told and what is not."""

import asyncio
import os
import shutil
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from support import builders
from veneer_adapters.sources.base import Change, Changed, FirstScanDone, Removed, Root
from veneer_adapters.sources.folders.scan import Scanner
from veneer_adapters.sources.local import FolderWatch

SETTLE_S = 0.2


def scan(*roots: Path) -> tuple[list[str], list[str]]:
    """Return the names found in ``roots`` and the reasons for what was ignored."""
    scanner = Scanner([Root(root) for root in roots])
    scanner.scan()
    seen, ignored = scanner.seen(0.0)
    return sorted(seen), [folder.why for folder in ignored]


def test_a_folder_with_one_of_the_files_is_an_adapter(tmp_path: Path) -> None:
    for name in ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"):
        (tmp_path / name.replace(".", "-")).mkdir()
        (tmp_path / name.replace(".", "-") / name).touch()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "README.md").touch()
    (tmp_path / "adapter_config.json").touch()
    assert len(scan(tmp_path)[0]) == 3


def test_a_team_is_a_folder_above_an_adapter(tmp_path: Path) -> None:
    builders.write(tmp_path / "team" / "a")
    builders.write(tmp_path / "team" / "b")
    assert scan(tmp_path)[0] == ["team/a", "team/b"]


def test_checkpoints_inside_an_adapter_are_not_adapters(tmp_path: Path) -> None:
    builders.write(tmp_path / "a")
    builders.write(tmp_path / "a" / "checkpoint-10")
    assert scan(tmp_path)[0] == ["a"]


def test_hidden_folders_are_other_programs_business(tmp_path: Path) -> None:
    builders.write(tmp_path / ".git")
    assert scan(tmp_path) == ([], [])


@pytest.mark.parametrize("name", ["my adapter", "a" * 64, "naïve"])
def test_a_folder_whose_name_no_client_could_use_is_ignored_with_a_reason(
    tmp_path: Path, name: str
) -> None:
    builders.write(tmp_path / name)
    assert scan(tmp_path) == ([], ["its name is not an adapter name"])


def test_the_first_root_wins_and_the_other_is_told_about(tmp_path: Path) -> None:
    for root in ("mine", "demo"):
        builders.write(tmp_path / root / "a")
    scanner = Scanner([Root(tmp_path / "mine"), Root(tmp_path / "demo", read_only=True)])
    scanner.scan()
    seen, ignored = scanner.seen(0.0)
    assert seen["a"].root.path == tmp_path / "mine"
    assert [folder.folder for folder in ignored] == [tmp_path / "demo" / "a"]


def test_a_root_that_does_not_exist_is_empty(tmp_path: Path) -> None:
    assert scan(tmp_path / "nothing") == ([], [])


def test_a_look_near_a_path_finds_what_changed_there_only(tmp_path: Path) -> None:
    scanner = Scanner([Root(tmp_path)])
    scanner.scan()
    builders.write(tmp_path / "a")
    builders.write(tmp_path / "team" / "b")
    scanner.scan_near([tmp_path / "team" / "b" / "adapter_config.json", tmp_path])
    assert list(scanner.seen(0.0)[0]) == ["team/b"]
    shutil.rmtree(tmp_path / "team")
    scanner.scan_near([tmp_path / "team", tmp_path / "a"])
    assert list(scanner.seen(0.0)[0]) == ["a"]


def test_an_edit_that_hides_in_the_old_mtime_is_still_a_change(tmp_path: Path) -> None:
    file = builders.write(tmp_path / "a") / "adapter_config.json"
    scanner = Scanner([Root(tmp_path)])
    scanner.scan()
    before, stat = scanner.seen(0.0)[0]["a"], file.stat()
    file.write_bytes(file.read_bytes()[::-1])
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    scanner.scan()
    assert scanner.seen(0.0)[0]["a"].signature != before.signature


def test_a_thousand_folders_are_looked_at_without_opening_a_file(tmp_path: Path) -> None:
    for index in range(1000):
        (tmp_path / f"a{index}").mkdir()
        (tmp_path / f"a{index}" / "adapter_config.json").touch(mode=0o000)
    assert len(scan(tmp_path)[0]) == 1000


def later() -> float:
    # An hour ahead: whatever lies there already has been quiet for long.
    return time.time() + 3600


@asynccontextmanager
async def watching(root: Path) -> AsyncIterator[AsyncGenerator[Change]]:
    watch = FolderWatch([Root(root)], settle_s=SETTLE_S)
    async with asyncio.timeout(5), aclosing(watch.changes()) as changes:
        yield changes


async def until_scanned(changes: AsyncGenerator[Change]) -> list[str]:
    told: list[str] = []
    async for change in changes:
        if isinstance(change, FirstScanDone):
            break
        told.append(change.name)
    return told


async def test_what_lies_there_is_told_before_the_first_scan_is_done(tmp_path: Path) -> None:
    builders.write(tmp_path / "a")
    builders.write(tmp_path / "team" / "b")
    watch = FolderWatch([Root(tmp_path)], now=later)
    async with asyncio.timeout(5), aclosing(watch.changes()) as changes:
        assert [await anext(changes), await anext(changes)] == [
            Changed("a", tmp_path / "a", Root(tmp_path)),
            Changed("team/b", tmp_path / "team" / "b", Root(tmp_path)),
        ]
        assert await anext(changes) == FirstScanDone(frozenset({"a", "team/b"}))


async def test_what_is_still_fresh_does_not_delay_the_first_scan(tmp_path: Path) -> None:
    builders.write(tmp_path / "a")
    watch = FolderWatch([Root(tmp_path)], settle_s=SETTLE_S, now=lambda: 0.0)
    async with asyncio.timeout(5), aclosing(watch.changes()) as changes:
        assert await anext(changes) == FirstScanDone(frozenset({"a"}))
        assert await anext(changes) == Changed("a", tmp_path / "a", Root(tmp_path))


async def test_a_folder_that_is_added_changed_and_removed_is_told_each_time(
    tmp_path: Path,
) -> None:
    async with watching(tmp_path) as changes:
        await until_scanned(changes)
        builders.write(tmp_path / "a")
        assert (await anext(changes)) == Changed("a", tmp_path / "a", Root(tmp_path))
        builders.write(tmp_path / "a", seed=1)
        assert (await anext(changes)) == Changed("a", tmp_path / "a", Root(tmp_path))
        shutil.rmtree(tmp_path / "a")
        assert await anext(changes) == Removed("a")


async def test_a_root_that_appears_later_and_comes_back_is_watched(tmp_path: Path) -> None:
    root = tmp_path / "later"
    async with watching(root) as changes:
        await until_scanned(changes)
        builders.write(root / "a")
        assert await anext(changes) == Changed("a", root / "a", Root(root))
        shutil.rmtree(root)
        assert await anext(changes) == Removed("a")


async def test_a_retried_folder_is_told_again(tmp_path: Path) -> None:
    builders.write(tmp_path / "a")
    watch = FolderWatch([Root(tmp_path)], settle_s=SETTLE_S, rescan_s=0.05, now=later)
    async with asyncio.timeout(5), aclosing(watch.changes()) as changes:
        assert await until_scanned(changes) == ["a"]
        watch.retry("a")
        assert (await anext(changes)) == Changed("a", tmp_path / "a", Root(tmp_path))


@pytest.mark.parametrize("error", [OSError("watch limit reached"), RuntimeError("cannot decode")])
async def test_when_the_watcher_fails_folders_are_polled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def no_watches(*paths: Path, **options: object) -> object:
        raise error

    monkeypatch.setattr("veneer_adapters.sources.folders.listening.awatch", no_watches)
    monkeypatch.setattr("veneer_adapters.sources.folders.listening.PAUSE_S", 0.05)
    async with watching(tmp_path) as changes:
        await until_scanned(changes)
        builders.write(tmp_path / "a")
        assert (await anext(changes)) == Changed("a", tmp_path / "a", Root(tmp_path))


async def test_a_failed_watcher_is_logged_once_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[int] = []

    def no_watches(*paths: Path, **options: object) -> object:
        tries.append(1)
        raise RuntimeError("Unable to decode path")

    monkeypatch.setattr("veneer_adapters.sources.folders.listening.awatch", no_watches)
    monkeypatch.setattr("veneer_adapters.sources.folders.listening.PAUSE_S", 0.01)
    with capture_logs() as lines:
        async with watching(tmp_path) as changes:
            await until_scanned(changes)
            builders.write(tmp_path / "a")
            await anext(changes)
    assert len(tries) > 1
    assert [line["event"] for line in lines] == ["adapter folders are polled, not watched"]


async def test_names_that_are_not_utf_8_stop_no_watch(tmp_path: Path) -> None:
    async with watching(tmp_path) as changes:
        await until_scanned(changes)
        builders.write(tmp_path / os.fsdecode(b"bad\xff"))
        builders.write(tmp_path / "a")
        assert (await anext(changes)) == Changed("a", tmp_path / "a", Root(tmp_path))


async def test_an_odd_entry_is_logged_once_for_each_change_and_not_for_each_look(
    tmp_path: Path,
) -> None:
    (tmp_path / "loop").symlink_to("loop")
    watch = FolderWatch([Root(tmp_path)], settle_s=SETTLE_S, rescan_s=0.02)
    with capture_logs() as lines:
        async with asyncio.timeout(5), aclosing(watch.changes()) as changes:
            await until_scanned(changes)
            builders.write(tmp_path / "a")
            await anext(changes)
    assert [line["folder"] for line in lines] == [str(tmp_path / "loop")]


async def test_a_look_that_fails_is_logged_and_the_next_one_finds_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(scanner: Scanner) -> None:
        monkeypatch.undo()
        raise MemoryError

    builders.write(tmp_path / "a")
    monkeypatch.setattr("veneer_adapters.sources.local._ROOT_CHECK_S", 0.01)
    monkeypatch.setattr(Scanner, "scan", broken)
    with capture_logs() as lines:
        async with watching(tmp_path) as changes:
            # What could not be looked at is not known to be gone.
            assert await anext(changes) == FirstScanDone(frozenset(), frozenset({tmp_path}))
            assert (await anext(changes)) == Changed("a", tmp_path / "a", Root(tmp_path))
    assert [line["event"] for line in lines] == ["adapter folders could not be looked at"]


async def test_a_link_to_everything_is_not_listened_in(tmp_path: Path) -> None:
    (tmp_path / "all").symlink_to("/")
    builders.write(tmp_path / "b")
    (tmp_path / "b" / "checkpoint-1").symlink_to("/")
    async with watching(tmp_path) as changes:
        await until_scanned(changes)
        builders.write(tmp_path / "a")
        told = {(await anext(changes)).name for _ in range(2)}  # type: ignore[union-attr]
    assert told == {"a", "b"}


async def test_a_root_that_is_a_link_is_followed_where_it_led_at_the_start(tmp_path: Path) -> None:
    builders.write(tmp_path / "real" / "a")
    (tmp_path / "root").symlink_to("real")
    watch = FolderWatch([Root(tmp_path / "root")], now=later)
    async with asyncio.timeout(5), aclosing(watch.changes()) as changes:
        real = tmp_path / "real"
        assert await anext(changes) == Changed("a", real / "a", Root(real))
