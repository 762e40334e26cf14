"""Watched folders are followed: in order, patiently, and whatever happens to them."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from support import builders
from unit.adapters.publishing.rig import Rig, Script, changed, following, until
from veneer_adapters import errors
from veneer_adapters.catalog.revision import Revision
from veneer_adapters.publishing.staging import Offer
from veneer_adapters.sources.base import FirstScanDone, Removed, Root
from veneer_adapters.sources.local import FolderWatch


async def test_the_first_scan_is_done_when_everything_was_staged_or_refused(rig: Rig) -> None:
    builders.write(rig.root.path / "a")
    builders.write(rig.root.path / "b", use_dora=True)
    watch = Script(changed(rig, "a"), changed(rig, "b"), FirstScanDone(frozenset("ab")))
    async with following(rig, watch):
        assert rig.states() == {"a": ("staged", None), "b": ("failed", "unsupported_feature")}
    assert watch.retried == []


async def test_a_removed_folder_is_not_found_and_its_revisions_are_retired(rig: Rig) -> None:
    builders.write(rig.root.path / "a")
    await rig.stage("a")
    async with following(rig, Script(FirstScanDone(frozenset("a")), Removed("a"))):
        await until(lambda: rig.retired == [1])
        assert rig.states() == {}


async def test_a_folder_removed_while_the_server_was_down_is_not_found(rig: Rig) -> None:
    folder = builders.write(rig.root.path / "a")
    await rig.stage("a")
    await rig.request("by-request", folder)
    async with following(rig, Script(FirstScanDone(frozenset()))):
        assert list(rig.states()) == ["by-request"]


async def test_the_folder_of_one_name_does_not_remove_what_was_published_by_request(
    rig: Rig,
) -> None:
    await rig.request("a", builders.write(rig.root.path / "a"))
    watch = Script(FirstScanDone(frozenset("a")), Removed("a"))
    async with following(rig, watch):
        await watch.told_all.wait()
        assert list(rig.states()) == ["a"]


async def test_changes_of_one_name_are_handled_in_their_order(rig: Rig) -> None:
    builders.write(rig.root.path / "a")
    watch = Script(
        changed(rig, "a"), Removed("a"), changed(rig, "a"), FirstScanDone(frozenset("a"))
    )
    async with following(rig, watch):
        assert rig.states() == {"a": ("staged", None)}
    assert len(rig.retired) == 1


async def test_a_folder_somebody_writes_to_is_retried_and_not_failed(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    builders.write(rig.root.path / "a")

    def changing(folder: Path, root: Path) -> None:
        raise errors.SourceChanging("It changes.")

    monkeypatch.setattr(rig.store, "receive", changing)
    watch = Script(changed(rig, "a"), FirstScanDone(frozenset("a")))
    async with following(rig, watch):
        assert rig.states() == {}
    assert watch.retried == ["a"]


async def test_a_full_disk_is_shown_and_retried(rig: Rig, armed: Callable[[str], None]) -> None:
    builders.write(rig.root.path / "a")
    armed("store.fsync:1+:enospc")
    watch = Script(changed(rig, "a"), FirstScanDone(frozenset("a")))
    async with following(rig, watch):
        assert rig.states() == {"a": ("failed", "cache_full")}
    assert watch.retried == ["a"]


async def test_a_link_in_a_root_that_leads_elsewhere_is_listed_as_failed(
    rig: Rig, tmp_path: Path
) -> None:
    (rig.root.path / "a").symlink_to(builders.write(tmp_path / "elsewhere"))
    async with following(rig, Script(changed(rig, "a"), FirstScanDone(frozenset("a")))):
        assert rig.states() == {"a": ("failed", "path_not_allowed")}


class Clock:
    """A watch's clock that the test winds on, and how often it was looked at with a look around."""

    def __init__(self) -> None:
        self.s = 0.0
        self.looks = 0

    def now(self) -> float:
        """Say that no file has been quiet at all."""
        self.looks += 1
        return 0.0


async def test_an_error_that_nobody_foresaw_does_not_end_the_following(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        builders.write(rig.root.path / name)
    real = rig.staging.stage_folder

    async def failing(offer: Offer, root: Root) -> Revision:
        if offer.name == "a":
            raise LookupError
        return await real(offer, root)

    monkeypatch.setattr(rig.staging, "stage_folder", failing)
    watch = Script(changed(rig, "a"), changed(rig, "b"), FirstScanDone(frozenset("ab")))
    with capture_logs() as lines:
        async with following(rig, watch):
            assert rig.states() == {"b": ("staged", None)}
    assert [line["adapter"] for line in lines if line["log_level"] == "error"] == ["a"]


async def test_a_folder_that_is_tried_again_is_logged_once(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changing(folder: Path, root: Path) -> None:
        raise errors.SourceChanging("It changes.")

    builders.write(rig.root.path / "a")
    monkeypatch.setattr(rig.store, "receive", changing)
    watch = Script(*[changed(rig, "a")] * 3, FirstScanDone(frozenset("a")))
    with capture_logs() as lines:
        async with following(rig, watch):
            pass
    assert watch.retried == ["a"] * 3
    assert [line["event"] for line in lines] == ["adapter will be tried again"]


async def test_an_adapter_in_a_folder_that_could_not_be_looked_at_is_kept(rig: Rig) -> None:
    for name in ("a", "b"):
        builders.write(rig.root.path / name)
        await rig.stage(name)
    scan = FirstScanDone(frozenset(), unread=frozenset({rig.root.path / "a"}))
    async with following(rig, Script(scan)):
        assert list(rig.states()) == ["a"]


def watch_of(rig: Rig) -> FolderWatch:
    return FolderWatch([rig.root], settle_s=0.4)


async def test_a_folder_copied_in_slowly_is_not_looked_at_before_it_is_whole(rig: Rig) -> None:
    whole = builders.write(rig.root.path.parent / "whole")
    weights = (whole / "adapter_model.safetensors").read_bytes()
    clock = Clock()
    watch = FolderWatch([rig.root], settle_s=0.4, clock=lambda: clock.s, now=clock.now)
    async with following(rig, watch):
        with capture_logs() as logs:
            folder = rig.root.path / "a"
            folder.mkdir()
            shutil.copy(whole / "adapter_config.json", folder)
            for begin in range(0, len(weights), 300):
                looks = clock.looks
                with (folder / "adapter_model.safetensors").open("ab") as file:
                    file.write(weights[begin : begin + 300])
                await until(lambda looks=looks: clock.looks > looks)
                clock.s += 0.3
            assert clock.s > 2 * 0.4, "the copy takes longer than the settling time"
            assert logs == []
            clock.s += 0.4
            await until(lambda: logs != [])
        assert rig.states() == {"a": ("staged", None)}
        assert [line["event"] for line in logs] == ["adapter published"]


async def test_a_folder_that_stays_incomplete_is_failed_and_heals_when_it_is_completed(
    rig: Rig,
) -> None:
    async with following(rig, watch_of(rig)):
        folder = builders.write(rig.root.path / "a")
        whole = (folder / "adapter_model.safetensors").read_bytes()
        (folder / "adapter_model.safetensors").write_bytes(whole[:-1])
        await until(lambda: rig.states() == {"a": ("failed", "truncated")})
        (folder / "adapter_model.safetensors").write_bytes(whole)
        await until(lambda: rig.states() == {"a": ("staged", None)})


async def test_an_edit_in_place_is_a_new_revision_and_removal_is_noticed(rig: Rig) -> None:
    builders.write(rig.root.path / "a")
    async with following(rig, watch_of(rig)):
        await until(lambda: rig.live("a") == 1)
        builders.write(rig.root.path / "a", seed=1)
        await until(lambda: rig.live("a") == 2)
        shutil.rmtree(rig.root.path / "a")
        await until(lambda: rig.retired == [1, 2])
        assert rig.states() == {}
