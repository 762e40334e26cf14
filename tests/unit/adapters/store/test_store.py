"""The store holds complete, unchanging content, and takes nothing that changes while read."""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest

from support import builders, storing
from veneer_adapters import errors
from veneer_adapters.artifact.files import CONFIG_FILE, WEIGHTS_FILE
from veneer_adapters.store import copying
from veneer_adapters.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return builders.write(tmp_path / "source")


def leftovers(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "store" / "tmp").iterdir())


def test_what_is_put_is_found_by_its_digest_and_equal(store: Store, folder: Path) -> None:
    digest, path = storing.put(store, folder)
    assert storing.has(store, digest)
    assert store.path(digest) == path
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        assert (path / name).read_bytes() == (folder / name).read_bytes()


def test_content_is_read_only_and_addressed_by_its_digest(store: Store, folder: Path) -> None:
    digest, path = storing.put(store, folder)
    assert path.parts[-3:] == ("sha256", digest[:2], digest)
    assert stat.S_IMODE(path.stat().st_mode) == 0o555
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.iterdir()} == {0o444}


def test_the_same_content_is_stored_once(store: Store, folder: Path, tmp_path: Path) -> None:
    assert storing.put(store, folder) == storing.put(store, builders.write(tmp_path / "again"))
    assert leftovers(tmp_path) == []


def test_one_other_byte_is_other_content(store: Store, folder: Path, tmp_path: Path) -> None:
    other = builders.write(tmp_path / "b", seed=1)
    assert storing.put(store, folder)[0] != storing.put(store, other)[0]


def test_only_the_two_files_are_taken(store: Store, folder: Path) -> None:
    (folder / "README.md").write_text("not ours")
    _, path = storing.put(store, folder)
    assert {file.name for file in path.iterdir()} == {CONFIG_FILE, WEIGHTS_FILE}


def test_what_was_received_is_not_in_the_store_until_it_is_kept(
    store: Store, folder: Path, tmp_path: Path
) -> None:
    received = store.receive(folder)
    assert not storing.has(store, received.digest)
    store.discard(received)
    store.discard(received)
    assert leftovers(tmp_path) == []


def test_leftovers_of_a_crash_are_removed_and_content_stays(
    store: Store, folder: Path, tmp_path: Path
) -> None:
    digest, _ = storing.put(store, folder)
    store.receive(folder)
    again = Store(tmp_path / "store")
    assert leftovers(tmp_path) == []
    assert storing.has(again, digest)


@pytest.mark.parametrize("damage", [b"", b"flipped"])
def test_a_damaged_copy_is_replaced_after_a_restart(
    store: Store, folder: Path, tmp_path: Path, damage: bytes
) -> None:
    _, path = storing.put(store, folder)
    (path / WEIGHTS_FILE).chmod(0o644)
    (path / WEIGHTS_FILE).write_bytes(damage)
    _, restored = storing.put(Store(tmp_path / "store"), folder)
    assert (restored / WEIGHTS_FILE).read_bytes() == (folder / WEIGHTS_FILE).read_bytes()


def edit_in_place(folder: Path) -> None:
    with (folder / WEIGHTS_FILE).open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"x")


def grow(folder: Path) -> None:
    with (folder / WEIGHTS_FILE).open("ab") as file:
        file.write(b"more")


def shrink(folder: Path) -> None:
    os.truncate(folder / WEIGHTS_FILE, 10)


def replace(folder: Path) -> None:
    new = folder / "new"
    new.write_bytes((folder / WEIGHTS_FILE).read_bytes())
    new.replace(folder / WEIGHTS_FILE)


def remove(folder: Path) -> None:
    (folder / CONFIG_FILE).unlink()


@pytest.mark.parametrize("change", [edit_in_place, grow, shrink, replace, remove])
@pytest.mark.parametrize("after", [CONFIG_FILE, WEIGHTS_FILE])
def test_a_source_that_changes_while_it_is_read_is_not_taken(
    store: Store,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    change: object,
    after: str,
) -> None:
    real = copying._copy

    def copy_then_change(source: BinaryIO, size_bytes: int, target: Path) -> str:
        digest = real(source, size_bytes, target)
        if target.name == after:
            change(folder)  # type: ignore[operator]
        return digest

    monkeypatch.setattr(copying, "_copy", copy_then_change)
    with pytest.raises(errors.SourceChanging):
        store.receive(folder)
    assert leftovers(tmp_path) == []


def test_a_folder_that_is_gone_is_a_change(store: Store, tmp_path: Path) -> None:
    with pytest.raises(errors.SourceChanging):
        store.receive(tmp_path / "nothing")


def test_more_than_the_limit_is_refused_before_it_is_copied(folder: Path, tmp_path: Path) -> None:
    os.truncate(folder / WEIGHTS_FILE, 256 << 30)
    with pytest.raises(errors.TooLarge):
        Store(tmp_path / "store", max_bytes=1 << 20).receive(folder)


def test_a_link_inside_the_folder_is_followed(store: Store, folder: Path) -> None:
    (folder / WEIGHTS_FILE).rename(folder / "real")
    (folder / WEIGHTS_FILE).symlink_to("real")
    _, path = storing.put(store, folder)
    assert not (path / WEIGHTS_FILE).is_symlink()


def test_a_link_that_leaves_the_folder_is_refused(
    store: Store, folder: Path, tmp_path: Path
) -> None:
    (folder / CONFIG_FILE).rename(tmp_path / "secret")
    (folder / CONFIG_FILE).symlink_to(tmp_path / "secret")
    with pytest.raises(errors.PathNotAllowed):
        store.receive(folder)


def test_a_pipe_is_refused_without_waiting_for_its_writer(store: Store, folder: Path) -> None:
    (folder / WEIGHTS_FILE).unlink()
    os.mkfifo(folder / WEIGHTS_FILE)
    with pytest.raises(errors.PathNotAllowed):
        store.receive(folder)


def test_a_link_that_leads_nowhere_or_in_a_circle_is_refused(store: Store, folder: Path) -> None:
    (folder / WEIGHTS_FILE).unlink()
    (folder / WEIGHTS_FILE).symlink_to(WEIGHTS_FILE)
    with pytest.raises(errors.AdapterError):
        store.receive(folder)


def test_an_incomplete_folder_is_refused_with_the_missing_file(
    store: Store, folder: Path, tmp_path: Path
) -> None:
    (folder / WEIGHTS_FILE).unlink()
    with pytest.raises(errors.MissingFile):
        store.receive(folder)
    assert leftovers(tmp_path) == []


def test_a_failed_write_leaves_nothing_and_names_no_path(
    store: Store, folder: Path, tmp_path: Path, armed: Callable[[str], None]
) -> None:
    received = store.receive(folder)
    armed("store.fsync:1:error")
    with pytest.raises(errors.StorageFailed, match="Input/output error") as caught:
        store.keep(received)
    assert str(tmp_path) not in str(caught.value)
    assert not storing.has(store, received.digest)
