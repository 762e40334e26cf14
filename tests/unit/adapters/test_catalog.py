"""What names mean, what survives a restart, and what is never handed out twice."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import builders
from veneer_adapters import errors
from veneer_adapters.catalog.catalog import Arrival, Catalog
from veneer_adapters.catalog.revision import Revision, Source
from veneer_adapters.lifecycle import State
from veneer_adapters.names import Selector

NOW = 1_700_000_000
LIVE_A = Selector("a", alias="live")


def digest(of: str) -> str:
    return of * (64 // len(of))


def stored(of: str) -> Path:
    return Path("/store") / of[:4]


def open_catalog(tmp_path: Path, find: Callable[[str], Path | None] = stored) -> Catalog:
    return Catalog.open(tmp_path / "state" / "catalog.json", find, now=lambda: NOW)


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return open_catalog(tmp_path)


def publish(catalog: Catalog, name: str, of: str) -> Revision:
    return catalog.publish(name, digest(of), stored(digest(of)), builders.MANIFEST, builders.FOLDER)


def test_what_is_published_is_live(catalog: Catalog) -> None:
    revision = publish(catalog, "a", "1")
    assert catalog.resolve(LIVE_A) == revision
    assert revision.number == 1
    assert revision.engine_name == f"a@sha256:{'1' * 24}"
    assert revision.header == f"a@1#sha256:{'1' * 12}"
    assert catalog.get("a").state is State.READY


def test_other_content_gets_the_next_number_and_becomes_live(catalog: Catalog) -> None:
    first, second = publish(catalog, "a", "1"), publish(catalog, "a", "2")
    assert second.number == 2
    assert catalog.resolve(LIVE_A) == second
    assert catalog.resolve(Selector("a", number=1)) == first
    assert catalog.resolve(Selector("a", digest="1" * 12)) == first
    assert catalog.revisions("a") == [first, second]


def test_the_same_content_keeps_its_number_and_becomes_live_again(catalog: Catalog) -> None:
    first = publish(catalog, "a", "1")
    publish(catalog, "a", "2")
    assert publish(catalog, "a", "1") == first
    assert catalog.resolve(LIVE_A) == first


UNKNOWN = [
    Selector("b", alias="live"),
    Selector("a", alias="canary"),
    Selector("a", number=2),
    Selector("a", digest="2" * 12),
]


@pytest.mark.parametrize("selector", UNKNOWN, ids=str)
def test_what_does_not_exist_is_not_found(catalog: Catalog, selector: Selector) -> None:
    publish(catalog, "a", "1")
    with pytest.raises(errors.AdapterNotFound):
        catalog.resolve(selector)


def test_a_misspelt_name_is_answered_with_close_matches(catalog: Catalog) -> None:
    publish(catalog, "pirate", "1")
    catalog.fail("pirates", errors.NoEffect("x"), builders.FOLDER)
    with pytest.raises(errors.AdapterNotFound) as caught:
        catalog.resolve(Selector("pirat", alias="live"))
    assert caught.value.close_matches == ("pirate",)


def test_an_adapter_that_never_was_ready_says_why(catalog: Catalog) -> None:
    catalog.fail("a", errors.RankTooLarge("The rank is 9."), builders.FOLDER)
    assert catalog.get("a").state is State.FAILED
    with pytest.raises(errors.AdapterFailed, match=r"The rank is 9\.") as caught:
        catalog.resolve(LIVE_A)
    assert caught.value.reason == "rank_too_large"


def test_a_failure_beside_a_live_revision_is_shown_and_stops_nothing(catalog: Catalog) -> None:
    revision = publish(catalog, "a", "1")
    catalog.fail("a", errors.Truncated("Cut."), builders.FOLDER)
    adapter = catalog.get("a")
    assert (adapter.state, adapter.reason, adapter.detail) == (State.READY, "truncated", "Cut.")
    assert catalog.resolve(LIVE_A) == revision
    publish(catalog, "a", "2")
    assert catalog.get("a").reason is None


def test_a_removed_adapter_is_not_found_and_its_revisions_are_returned(catalog: Catalog) -> None:
    revisions = publish(catalog, "a", "1"), publish(catalog, "a", "2")
    assert catalog.remove("a") == revisions
    assert catalog.adapters() == []
    for selector in (LIVE_A, Selector("a", number=1)):
        with pytest.raises(errors.AdapterNotFound):
            catalog.resolve(selector)
    with pytest.raises(errors.AdapterNotFound):
        catalog.remove("a")


def test_numbers_are_never_reused_after_removal_and_restart(tmp_path: Path) -> None:
    catalog = open_catalog(tmp_path)
    publish(catalog, "a", "1")
    publish(catalog, "a", "2")
    catalog.remove("a")
    again = open_catalog(tmp_path)
    assert again.adapters() == []
    assert publish(again, "a", "3").number == 3
    assert publish(again, "a", "1").number == 1


def test_a_restart_finds_everything_as_it_was(tmp_path: Path) -> None:
    catalog = open_catalog(tmp_path)
    source = Source("folder", "demo", read_only=True)
    catalog.publish("team/b", digest("5"), stored(digest("5")), builders.MANIFEST, source)
    publish(catalog, "a", "1")
    publish(catalog, "a", "2")
    again = open_catalog(tmp_path)
    assert again.adapters() == catalog.adapters()
    assert again.revisions("a") == catalog.revisions("a")
    assert again.get("team/b").read_only


def test_a_live_revision_the_store_lost_is_failed_until_it_is_staged_again(tmp_path: Path) -> None:
    publish(open_catalog(tmp_path), "a", "1")
    again = open_catalog(tmp_path, find=lambda _: None)
    with pytest.raises(errors.AdapterFailed) as caught:
        again.resolve(LIVE_A)
    assert caught.value.reason == "missing_file"
    assert again.revisions("a") == []
    assert publish(again, "a", "1").number == 1


def test_adapters_are_listed_by_name_the_failed_ones_too(catalog: Catalog) -> None:
    publish(catalog, "b", "1")
    catalog.fail("a", errors.NoEffect("x"), builders.FOLDER)
    assert [(a.name, a.state) for a in catalog.adapters()] == [
        ("a", State.FAILED),
        ("b", State.READY),
    ]


def test_a_batch_may_hold_one_name_twice(catalog: Catalog) -> None:
    arrival = Arrival("a", digest("1"), stored("1"), builders.MANIFEST, builders.FOLDER)
    revisions = catalog.publish_all([arrival, replace(arrival, digest=digest("2")), arrival])
    assert [r.number for r in revisions] == [1, 2, 1]
    assert catalog.resolve(LIVE_A).number == 1


DAMAGED = [
    ("cut", lambda text: text[:-10]),
    ("empty", lambda text: b""),
    ("a list", lambda text: b"[]"),
    ("a field more", lambda text: text.replace(b'"version"', b'"x":1,"version"')),
    ("a live revision that is not there", lambda text: text.replace(b'"live":1', b'"live":7')),
    ("a number that is text", lambda text: text.replace(b'"number":1', b'"number":"1"')),
    ("a newer version", lambda text: text.replace(b'"version":1', b'"version":2')),
]


@pytest.mark.parametrize("damage", [d[1] for d in DAMAGED], ids=[d[0] for d in DAMAGED])
def test_a_file_that_cannot_be_trusted_stops_the_start_and_stays(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    publish(open_catalog(tmp_path), "a", "1")
    file = tmp_path / "state" / "catalog.json"
    damaged = damage(file.read_bytes())
    file.write_bytes(damaged)
    with pytest.raises(errors.CatalogUnreadable, match=r"catalog\.json"):
        open_catalog(tmp_path)
    assert file.read_bytes() == damaged


@pytest.mark.parametrize("call", ["os.fsync", "pathlib.Path.replace"])
def test_a_write_that_fails_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    catalog = open_catalog(tmp_path)
    publish(catalog, "a", "1")

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(call, full)
    with pytest.raises(errors.StorageFailed):
        publish(catalog, "a", "2")
    monkeypatch.undo()
    assert catalog.resolve(LIVE_A).number == 1
    assert open_catalog(tmp_path).resolve(LIVE_A).number == 1
    assert publish(catalog, "a", "2").number == 2


def test_publishing_what_is_live_already_writes_nothing(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(catalog, "a", "1")
    monkeypatch.setattr("veneer_adapters.catalog.catalog.write_records", None)
    assert publish(catalog, "a", "1").number == 1
