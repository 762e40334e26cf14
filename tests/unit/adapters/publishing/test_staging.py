"""Fetch, verify, publish: what becomes of good and bad content."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from support import builders
from unit.adapters.publishing.rig import Rig, Script, changed, following
from veneer_adapters import errors
from veneer_adapters.catalog.revision import Revision
from veneer_adapters.names import Selector
from veneer_adapters.sources.base import FirstScanDone


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
