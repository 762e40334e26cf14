"""Sources that are exchanged while they are taken, or that no system could open."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from support import builders
from veneer_adapters import errors
from veneer_adapters.artifact import opening
from veneer_adapters.artifact.files import CONFIG_FILE, WEIGHTS_FILE
from veneer_adapters.artifact.manifest import Manifest
from veneer_adapters.catalog.revision import Source
from veneer_adapters.publishing.intake import Intake, Refused
from veneer_adapters.sources.base import Root
from veneer_adapters.store.store import Store

MANIFEST = Manifest(1, 1.0, False, (), 0, 0, None, "F32")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    builders.write(root / "team" / "a")
    builders.write(tmp_path / "outside" / "a", seed=1)
    return root


@pytest.fixture
def intake(tmp_path: Path, root: Path) -> Intake:
    return Intake(Store(tmp_path / "store"), lambda folder: MANIFEST, roots=[Root(root)])


def exchange_the_folder(root: Path) -> None:
    shutil.rmtree(root / "team" / "a")
    (root / "team" / "a").symlink_to(root.parent / "outside" / "a")


def exchange_the_folder_above(root: Path) -> None:
    shutil.rmtree(root / "team")
    (root / "team").symlink_to(root.parent / "outside")


def exchange_the_root(root: Path) -> None:
    shutil.rmtree(root)
    (root.parent / "outside" / "team").mkdir()
    shutil.copytree(root.parent / "outside" / "a", root.parent / "outside" / "team" / "a")
    root.symlink_to(root.parent / "outside")


def exchange_a_file(root: Path) -> None:
    (root / "team" / "a" / WEIGHTS_FILE).unlink()
    (root / "team" / "a" / WEIGHTS_FILE).symlink_to(root.parent / "outside" / "a" / WEIGHTS_FILE)


def remove_the_folder(root: Path) -> None:
    shutil.rmtree(root / "team" / "a")


def make_the_folder_a_file(root: Path) -> None:
    remove_the_folder(root)
    (root / "team" / "a").touch()


EXCHANGES = [
    exchange_the_folder,
    exchange_the_folder_above,
    exchange_the_root,
    exchange_a_file,
    remove_the_folder,
    make_the_folder_a_file,
]


REFUSED = {"source_changing", "path_not_allowed", "missing_file"}


@pytest.mark.parametrize("exchange", EXCHANGES)
@pytest.mark.parametrize("step", range(1, 12))
async def test_what_is_exchanged_at_any_step_brings_in_nothing_from_outside(
    tmp_path: Path,
    root: Path,
    intake: Intake,
    monkeypatch: pytest.MonkeyPatch,
    exchange: Callable[[Path], None],
    step: int,
) -> None:
    secret = (tmp_path / "outside" / "a" / WEIGHTS_FILE).read_bytes()
    steps = [0]

    def exchanging(function: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **more: object) -> object:
            steps[0] += 1
            if steps[0] == step:
                exchange(root)
            return function(*args, **more)

        return call

    for name in ("resolved", "_open"):
        monkeypatch.setattr(opening, name, exchanging(getattr(opening, name)))
    monkeypatch.setattr("veneer_adapters.publishing.intake.resolved", opening.resolved)
    taken = refused = None
    try:
        taken = await intake.take(Source("path", str(root / "team" / "a")))
    except Refused as error:
        refused = error.error
    assert taken is None or (taken.path / WEIGHTS_FILE).read_bytes() != secret
    assert refused is None or refused.reason in REFUSED


NO_PATHS = {
    "a NUL byte": "/a\0b",
    "a name that is too long": "/" + "a" * 256,
    "a path that is too long": "/a" * 3000,
    "no Unicode": "/\ud800",
}


@pytest.mark.parametrize("path", NO_PATHS.values(), ids=NO_PATHS)
async def test_a_path_that_no_system_could_open_is_refused(
    root: Path, intake: Intake, path: str
) -> None:
    for text in (path, str(root) + path):
        with pytest.raises(errors.PathNotAllowed):
            intake.check(Source("path", text))
        with pytest.raises(Refused) as refused:
            await intake.take(Source("path", text))
        assert isinstance(refused.value.error, errors.PathNotAllowed)


async def test_links_in_a_loop_or_a_chain_without_end_are_refused(
    root: Path, intake: Intake
) -> None:
    (root / "loop").symlink_to("other")
    (root / "other").symlink_to("loop")
    (root / "0").symlink_to("team/a")
    for index in range(1, 100):
        (root / f"{index}").symlink_to(f"{index - 1}")
    for name in ("loop", "loop/a", "50", "99"):
        with pytest.raises(errors.PathNotAllowed):
            intake.check(Source("path", str(root / name)))
        with pytest.raises(Refused) as refused:
            await intake.take(Source("path", str(root / name)))
        assert isinstance(refused.value.error, errors.PathNotAllowed)


async def test_a_file_is_no_folder_of_an_adapter(root: Path, intake: Intake) -> None:
    for path in (root / "team" / "a" / CONFIG_FILE, root / "team" / "a" / CONFIG_FILE / "x"):
        with pytest.raises(Refused) as refused:
            await intake.take(Source("path", str(path)))
        assert isinstance(refused.value.error, errors.MissingFile)
        with pytest.raises(errors.MissingFile):
            intake.locate(Source("path", str(path)))


async def test_links_to_files_elsewhere_in_the_root_are_followed(
    root: Path, intake: Intake
) -> None:
    folder = builders.write(root / "team" / "b")
    (root / "blobs").mkdir()
    (folder / WEIGHTS_FILE).rename(root / "blobs" / "sha")
    (folder / WEIGHTS_FILE).symlink_to("../../blobs/sha")
    taken = await intake.take(Source("path", str(folder)))
    assert (taken.path / WEIGHTS_FILE).read_bytes() == (root / "blobs" / "sha").read_bytes()


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE, errno.ENOTCONN])
async def test_a_disk_that_fails_is_a_source_that_is_not_there_now(
    root: Path, intake: Intake, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def failing(path: Path) -> Path:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(opening, "resolved", failing)
    with pytest.raises(Refused) as refused:
        await intake.take(Source("path", str(root / "team" / "a")))
    assert isinstance(refused.value.error, errors.AdapterUnavailable)
    assert str(root) not in str(refused.value)


@pytest.mark.parametrize("error", [ValueError("odd"), RuntimeError("odd"), RecursionError()])
async def test_an_error_that_nobody_foresaw_costs_one_adapter(
    tmp_path: Path, root: Path, error: Exception
) -> None:
    def failing(folder: Path) -> Manifest:
        raise error

    intake = Intake(Store(tmp_path / "other"), failing, roots=[Root(root)])
    with pytest.raises(Refused) as refused:
        await intake.take(Source("path", str(root / "team" / "a")))
    assert refused.value.error.reason == "source_unavailable"
    assert list((tmp_path / "other" / "tmp").iterdir()) == []


def test_a_file_exchanged_for_a_link_just_before_it_is_opened_is_not_opened(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = opening._open

    def exchange_then_open(name: str, flags: int, folder: int | None = None) -> int:
        if name == WEIGHTS_FILE:
            exchange_a_file(root)
        return real(name, flags, folder)

    monkeypatch.setattr(opening, "_open", exchange_then_open)
    folder = root / "team" / "a"
    with opening.open_folder(folder, root) as opened, pytest.raises(errors.SourceChanging):
        opened.open(WEIGHTS_FILE)
