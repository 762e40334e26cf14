"""Fetch, verify, publish: what becomes of good, bad and moving folders."""

import asyncio
import shutil
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from support import builders
from veneer_adapters import errors
from veneer_adapters.artifact.checks import verify
from veneer_adapters.catalog.catalog import Catalog, Entry
from veneer_adapters.catalog.database import Database
from veneer_adapters.catalog.proof import Effect
from veneer_adapters.catalog.revision import Revision, Source
from veneer_adapters.names import Selector
from veneer_adapters.publishing.following import Following
from veneer_adapters.publishing.intake import Intake
from veneer_adapters.publishing.publishing import Publishing
from veneer_adapters.publishing.staging import Offer, Staging
from veneer_adapters.sources.base import Change, Changed, FirstScanDone, Removed, Root
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


@pytest_asyncio.fixture
async def rig(tmp_path: Path, database: Database) -> Rig:
    return Rig(tmp_path, await Catalog.open(database, Store(tmp_path / "store").path))


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


async def test_a_good_folder_becomes_the_live_revision_in_the_store(rig: Rig) -> None:
    builders.write(rig.root.path / "a")
    revision = await rig.stage("a")
    assert rig.catalog.resolve(Selector("a", alias="live")) == revision
    assert revision.path == rig.store.path(revision.digest)
    assert rig.store.check(revision.digest)
    assert revision.manifest.modules == 2


async def test_removing_the_source_afterwards_harms_nothing(rig: Rig) -> None:
    folder = builders.write(rig.root.path / "a")
    revision = await rig.stage("a")
    shutil.rmtree(folder)
    assert sorted(file.name for file in revision.path.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]


async def test_other_content_is_a_new_revision_and_the_old_one_is_retired(rig: Rig) -> None:
    builders.write(rig.root.path / "a")
    first = await rig.stage("a")
    builders.write(rig.root.path / "a", seed=1)
    second = await rig.stage("a")
    assert (first.number, second.number) == (1, 2)
    assert first.engine_name != second.engine_name
    assert first.path != second.path
    assert rig.retired == [1]


async def test_the_same_content_again_changes_nothing(rig: Rig) -> None:
    builders.write(rig.root.path / "a")
    assert await rig.stage("a") == await rig.stage("a")
    assert rig.retired == []


async def test_a_refused_folder_is_failed_and_leaves_nothing_in_the_store(rig: Rig) -> None:
    builders.write(rig.root.path / "a", use_dora=True)
    with pytest.raises(errors.UnsupportedFeature):
        await rig.stage("a")
    assert rig.states() == {"a": ("failed", "unsupported_feature")}
    assert list(rig.tmp.iterdir()) == []
    assert list((rig.tmp.parent / "sha256").iterdir()) == []


async def test_a_refused_change_leaves_the_older_revision_serving(rig: Rig) -> None:
    builders.write(rig.root.path / "a")
    revision = await rig.stage("a")
    builders.write(rig.root.path / "a", r=3)
    with pytest.raises(errors.InvalidConfig):
        await rig.stage("a")
    assert rig.states() == {"a": ("staged", "invalid_config")}
    assert rig.catalog.resolve(Selector("a", alias="live")) == revision


async def test_a_refusal_is_logged_once_for_each_content(rig: Rig) -> None:
    with capture_logs() as logs:
        for seed in (0, 0, 1):
            builders.write(rig.root.path / "a", seed=seed, use_dora=True)
            with pytest.raises(errors.UnsupportedFeature):
                await rig.stage("a")
    assert [line["event"] for line in logs] == ["adapter refused"] * 2


async def test_a_thousand_arrivals_are_written_together(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[int] = []
    add_all = rig.catalog.add_all

    async def counted(arrivals: list[Any]) -> list[Revision]:
        batches.append(len(arrivals))
        return await add_all(arrivals)

    monkeypatch.setattr(rig.catalog, "add_all", counted)
    for index in range(20):
        builders.write(rig.root.path / f"a{index}")
    async with asyncio.timeout(5):
        await asyncio.gather(*(rig.stage(f"a{index}") for index in range(20)))
    assert sum(batches) == 20
    assert all(state == ("staged", None) for state in rig.states().values())


async def test_a_path_inside_a_root_can_be_staged_by_request(rig: Rig) -> None:
    builders.write(rig.root.path / ".incoming" / "a")
    path = rig.root.path / ".incoming" / "a"
    revision = await rig.request("b", path)
    assert rig.catalog.get("b").live == revision


OUTSIDE = ["..", "../elsewhere", "/etc", "link"]


@pytest.mark.parametrize("path", OUTSIDE)
async def test_a_path_outside_the_roots_is_refused_and_not_listed(
    rig: Rig, tmp_path: Path, path: str
) -> None:
    builders.write(tmp_path / "elsewhere")
    (rig.root.path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(errors.PathNotAllowed) as caught:
        await rig.request("b", rig.root.path / path)
    assert str(tmp_path) not in str(caught.value)
    assert rig.states() == {}


async def test_a_publish_whose_proof_was_not_written_down_is_no_success(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def proves_nothing(revision: Revision) -> None:
        return

    folder = builders.write(rig.root.path / "a")
    first = await rig.request("a", folder)
    builders.write(folder, seed=1)
    monkeypatch.setattr(rig.staging._publishing, "_prove", proves_nothing)
    with pytest.raises(errors.StateBusy):
        await rig.request("a", folder)
    assert rig.catalog.get("a").live == first


async def test_a_reserved_name_is_refused_with_what_it_means_already(rig: Rig) -> None:
    folder = builders.write(rig.root.path / "base")
    with pytest.raises(errors.NameNotAllowed, match="`base` is the name of the base model"):
        await rig.request("base", folder)
    async with following(rig, Script(changed(rig, "base"), FirstScanDone(frozenset({"base"})))):
        assert rig.states() == {}


async def test_a_name_outside_the_grammar_is_refused(rig: Rig) -> None:
    folder = builders.write(rig.root.path / "a")
    with pytest.raises(errors.NameNotAllowed):
        await rig.request("no name", folder)


async def test_a_bad_path_given_by_request_is_told_to_who_asked_only(rig: Rig) -> None:
    folder = builders.write(rig.root.path / "a", use_dora=True)
    with pytest.raises(errors.UnsupportedFeature):
        await rig.request("b", folder)
    assert rig.states() == {}


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
