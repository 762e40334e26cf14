"""Stored content is hashed at its first use after a start; what is damaged is never served."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support import builders, storing
from veneer_adapters import errors
from veneer_adapters.artifact.files import CONFIG_FILE, WEIGHTS_FILE
from veneer_adapters.store import contents
from veneer_adapters.store.store import Store


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return builders.write(tmp_path / "source")


@pytest.fixture
def digest(folder: Path, tmp_path: Path) -> str:
    """Of what an earlier process stored."""
    return storing.put(Store(tmp_path / "store"), folder)[0]


@pytest.fixture
def store(digest: str, tmp_path: Path) -> Store:
    """As it is after a restart."""
    assert digest
    return Store(tmp_path / "store")


def flip_a_bit(path: Path) -> None:
    with (path / WEIGHTS_FILE).open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)[0]
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 1]))


def truncate(path: Path) -> None:
    os.truncate(path / WEIGHTS_FILE, 10)


def empty(path: Path) -> None:
    os.truncate(path / CONFIG_FILE, 0)


def lose_a_file(path: Path) -> None:
    (path / CONFIG_FILE).unlink()


def replace_by_a_folder(path: Path) -> None:
    lose_a_file(path)
    (path / CONFIG_FILE).mkdir()


def exchange(path: Path) -> None:
    (path / CONFIG_FILE).rename(path / "x")
    (path / WEIGHTS_FILE).rename(path / CONFIG_FILE)
    (path / "x").rename(path / WEIGHTS_FILE)


DAMAGE = [flip_a_bit, truncate, empty, lose_a_file, replace_by_a_folder, exchange]


def damage(path: Path, how: Callable[[Path], None]) -> None:
    path.chmod(0o755)
    for file in path.iterdir():
        file.chmod(0o644)
    how(path)


@pytest.mark.parametrize("how", DAMAGE, ids=lambda how: how.__name__)
def test_damaged_content_is_found_removed_and_can_be_stored_again(
    store: Store, digest: str, folder: Path, tmp_path: Path, how: Callable[[Path], None]
) -> None:
    damage(store.path(digest), how)
    assert not store.check(digest)
    assert not storing.has(store, digest)
    assert store.total_bytes == 0
    assert list((tmp_path / "store" / "tmp").iterdir()) == []
    assert storing.put(store, folder)[0] == digest
    assert store.check(digest)


def test_content_that_vanished_is_not_intact_even_if_it_was(store: Store, digest: str) -> None:
    assert store.check(digest)
    store.path(digest).rename(store.path(digest).with_name("gone"))
    assert not store.check(digest)
    assert not store.check("0" * 64)


def test_intact_content_is_hashed_once_for_all_threads_and_for_keep(
    store: Store, digest: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[Path] = []
    begun, go_on = threading.Event(), threading.Event()

    def slow(path: Path, real: Callable[[Path], str] = contents.sha256_of) -> str:
        hashed.append(path)
        begun.set()
        assert go_on.wait(10)
        return real(path)

    monkeypatch.setattr(contents, "sha256_of", slow)
    with ThreadPoolExecutor(4) as threads:
        first = threads.submit(store.check, digest)
        assert begun.wait(10)
        others = [threads.submit(store.check, digest) for _ in range(3)]
        go_on.set()
        assert all(answer.result(10) for answer in (first, *others))
    storing.put(store, folder)
    assert len(hashed) == 2


def test_what_was_stored_by_this_process_is_not_hashed_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "store")
    digest, _ = storing.put(store, folder)
    monkeypatch.delattr(contents, "sha256_of")
    assert store.check(digest)


def test_a_read_that_fails_for_the_moment_removes_nothing(
    store: Store, digest: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_many_files(path: Path) -> str:
        raise OSError(24, "Too many open files", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(contents, "sha256_of", too_many_files)
        with pytest.raises(errors.StorageFailed) as caught:
            store.check(digest)
        assert str(tmp_path) not in str(caught.value)
    assert store.check(digest)


def test_a_sector_that_cannot_be_read_is_damage(
    store: Store, digest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bad_sector(path: Path) -> str:
        raise OSError(5, "Input/output error", str(path))

    monkeypatch.setattr(contents, "sha256_of", bad_sector)
    assert not store.check(digest)
    assert not storing.has(store, digest)


def test_content_stored_while_its_absence_is_found_stays(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "store")
    received = store.receive(folder)

    def absent(path: Path) -> str:
        with ThreadPoolExecutor(1) as other:
            moved = other.submit(store._contents.place, received.digest, received.path, 1, tuple)
            moved.result(10)
        raise FileNotFoundError(2, "No such file or directory", str(path))

    monkeypatch.setattr(contents, "sha256_of", absent)
    assert store.check(received.digest)
    assert storing.has(store, received.digest)
