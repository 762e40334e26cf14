"""Whatever lies in a root costs its own name only, with a reason."""

import errno
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from support import builders
from veneer_adapters.sources.base import Root
from veneer_adapters.sources.folders import entries, search
from veneer_adapters.sources.folders.scan import Scanner


def scan(*roots: Path) -> tuple[list[str], dict[str, str]]:
    """Return the names found in ``roots``, and the reason for each path that was ignored."""
    scanner = Scanner([Root(root) for root in roots])
    scanner.scan()
    seen, ignored = scanner.seen(0.0)
    assert len({folder.folder for folder in ignored}) == len(ignored), "one reason for each"
    return sorted(seen), {entries.shown(Path(folder.folder.name)): folder.why for folder in ignored}


def loop(root: Path) -> None:
    (root / "odd").symlink_to("odd")


def loop_through_two(root: Path) -> None:
    (root / "odd").symlink_to("other")
    (root / "other").symlink_to("odd")


def chain_of_fifty(root: Path) -> None:
    target = root
    for index in range(50):
        link = root / f".{index}"
        link.symlink_to(target)
        target = link
    (root / "odd").symlink_to(target)


def link_to_itself_as_a_folder(root: Path) -> None:
    (root / "odd").symlink_to(".")


def link_to_the_folder_above(root: Path) -> None:
    (root / "odd").symlink_to("..")


def link_to_everything(root: Path) -> None:
    (root / "odd").symlink_to("/")


def link_to_nothing(root: Path) -> None:
    (root / "odd").symlink_to("nothing")


def link_to_proc(root: Path) -> None:
    (root / "odd").symlink_to("/proc")


def link_to_a_device(root: Path) -> None:
    (root / "odd").symlink_to("/dev/null")


def link_out(root: Path) -> None:
    (root / "odd").symlink_to("/usr/lib")


def pipe(root: Path) -> None:
    os.mkfifo(root / "odd")


def listening_socket(root: Path) -> None:
    here = Path.cwd()
    os.chdir(root)  # A socket's path may have 107 bytes.
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("odd")
    os.chdir(here)


ODD: dict[Callable[[Path], None], str] = {
    loop: "loop",
    loop_through_two: "loop",
    chain_of_fifty: "loop",
    link_to_itself_as_a_folder: "in which it lies",
    link_to_the_folder_above: "in which it lies",
    link_to_everything: "in which it lies",
    link_to_nothing: "link to nothing",
    link_to_proc: "leads out",
    link_to_a_device: "pipe, a socket or a device",
    link_out: "leads out",
    pipe: "pipe, a socket or a device",
    listening_socket: "pipe, a socket or a device",
}


@pytest.mark.parametrize("make", ODD)
@pytest.mark.parametrize("where", [".", "team"])
def test_an_odd_entry_costs_its_own_name_only(
    tmp_path: Path, make: Callable[[Path], None], where: str
) -> None:
    root = tmp_path / "root"
    builders.write(root / "a")
    builders.write(root / "team" / "b")
    make(root / where)
    names, ignored = scan(root)
    assert names == ["a", "team/b"]
    assert ODD[make] in ignored["odd"]


def test_a_name_that_is_not_utf_8_is_ignored_and_shown_with_escapes(tmp_path: Path) -> None:
    builders.write(tmp_path / "a")
    (tmp_path / os.fsdecode(b"empty\xff")).mkdir()
    builders.write(tmp_path / os.fsdecode(b"bad\xff\x1b\n"))
    names, ignored = scan(tmp_path)
    assert names == ["a"]
    assert ignored == dict.fromkeys([r"bad\xff\x1b\n", r"empty\xff"], "its name is not UTF-8")


def make_loop(path: Path) -> None:
    path.symlink_to(path.name)


@pytest.mark.parametrize("make", [make_loop, Path.mkdir, os.mkfifo])
@pytest.mark.parametrize(
    "name", ["adapter_config.json", "adapter_model.bak", "adapter_model.\udcff"]
)
def test_an_odd_file_of_an_adapter_is_a_state_like_any_other(
    tmp_path: Path, name: str, make: Callable[[Path], None]
) -> None:
    folder = builders.write(tmp_path / "a")
    (folder / name).unlink(missing_ok=True)
    before = scan_signature(tmp_path)
    make(folder / name)
    assert scan(tmp_path) == (["a"], {})
    assert scan_signature(tmp_path) != before


def scan_signature(root: Path) -> object:
    scanner = Scanner([Root(root)])
    scanner.scan()
    return scanner.seen(0.0)[0]["a"].signature


PASSING = [
    errno.EACCES,
    errno.EIO,
    errno.ENOTCONN,
    errno.EPERM,
    errno.ESTALE,
]


def failing(number: int, *places: Path) -> Callable[[Path], entries.Listing]:
    real = entries.listing

    def listing(folder: Path) -> entries.Listing:
        if folder in places:
            raise OSError(number, os.strerror(number), str(folder))
        return real(folder)

    return listing


def fail(monkeypatch: pytest.MonkeyPatch, number: int, *places: Path) -> None:
    for module in ("search", "scan"):
        name = f"veneer_adapters.sources.folders.{module}.listing"
        monkeypatch.setattr(name, failing(number, *places))


@pytest.mark.parametrize("number", PASSING)
def test_what_cannot_be_looked_at_counts_as_it_was_found_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    for name in ("a", "team/b", "team/c"):
        builders.write(tmp_path / name)
    scanner = Scanner([Root(tmp_path)])
    scanner.scan()
    fail(monkeypatch, number, tmp_path / "a", tmp_path / "team" / "b")
    scanner.scan()
    seen, ignored = scanner.seen(0.0)
    assert sorted(seen) == ["a", "team/b", "team/c"]
    assert {i.name for i in ignored} == {"a", "team/b"}
    assert scanner.unread() == {tmp_path / "a", tmp_path / "team" / "b"}


@pytest.mark.parametrize("number", PASSING)
def test_a_root_that_cannot_be_looked_at_keeps_its_adapters_and_costs_no_other_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    builders.write(tmp_path / "mount" / "a")
    builders.write(tmp_path / "local" / "b")
    scanner = Scanner([Root(tmp_path / "mount"), Root(tmp_path / "local")])
    scanner.scan()
    fail(monkeypatch, number, tmp_path / "mount")
    scanner.scan()
    seen, ignored = scanner.seen(0.0)
    assert sorted(seen) == ["a", "b"]
    assert [i.folder for i in ignored] == [tmp_path / "mount"]
    monkeypatch.undo()
    scanner.scan()
    assert scanner.seen(0.0)[1] == []
    assert scanner.unread() == frozenset()


@pytest.mark.parametrize("number", [errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR])
def test_what_became_something_else_is_gone_with_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    for name in ("a", "b"):
        builders.write(tmp_path / name)
    scanner = Scanner([Root(tmp_path)])
    scanner.scan()
    fail(monkeypatch, number, tmp_path / "a")
    scanner.scan()
    seen, ignored = scanner.seen(0.0)
    assert (sorted(seen), [i.name for i in ignored]) == (["b"], ["a"])
    assert scanner.unread() == frozenset()


def test_what_vanishes_while_it_is_looked_at_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        builders.write(tmp_path / name)
    fail(monkeypatch, errno.ENOENT, tmp_path / "a")
    assert scan(tmp_path) == (["b"], {})


def test_a_folder_that_becomes_a_file_while_it_is_looked_at_costs_itself_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        builders.write(tmp_path / name)
    real = os.lstat

    def exchange(path: Path, **more: int) -> os.stat_result:
        found = real(path, **more)
        if not more and path == tmp_path / "a" and path.is_dir():
            shutil.rmtree(path)
            path.touch()
        return found

    monkeypatch.setattr(search.os, "lstat", exchange)
    names, ignored = scan(tmp_path)
    assert names == ["b"]
    assert list(ignored) == ["a"]


def test_a_root_that_is_a_file_or_a_loop_is_ignored_with_a_reason(tmp_path: Path) -> None:
    builders.write(tmp_path / "good" / "a")
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    names, ignored = scan(tmp_path / "file", tmp_path / "loop", tmp_path / "good")
    assert names == ["a"]
    assert ignored == {
        "file": "it cannot be looked at: Not a directory",
        "loop": "its links lead in a loop, or through too many links",
    }


def test_a_root_that_becomes_a_file_has_no_adapters_any_more(tmp_path: Path) -> None:
    builders.write(tmp_path / "root" / "a")
    scanner = Scanner([Root(tmp_path / "root")])
    scanner.scan()
    shutil.rmtree(tmp_path / "root")
    (tmp_path / "root").touch()
    scanner.scan()
    seen, ignored = scanner.seen(0.0)
    assert (seen, [i.name for i in ignored]) == ({}, ["root"])


def test_links_between_folders_are_followed_once(tmp_path: Path) -> None:
    builders.write(tmp_path / ".releases" / "1" / "a")
    (tmp_path / "team").symlink_to(".releases/1")
    (tmp_path / "b").mkdir()
    (tmp_path / "c").mkdir()
    (tmp_path / "b" / "x").symlink_to("../c")
    (tmp_path / "c" / "y").symlink_to("../b")
    assert scan(tmp_path) == (["team/a"], {})


def test_a_change_behind_a_link_is_seen_when_its_real_place_is_touched(tmp_path: Path) -> None:
    builders.write(tmp_path / ".releases" / "1")
    (tmp_path / "a").symlink_to(".releases/1")
    scanner = Scanner([Root(tmp_path)])
    scanner.scan()
    before = scanner.seen(0.0)[0]["a"].signature
    builders.write(tmp_path / ".releases" / "1", seed=1)
    scanner.scan_near([tmp_path / ".releases" / "1" / "adapter_model.safetensors"])
    assert scanner.seen(0.0)[0]["a"].signature != before
    assert tmp_path / ".releases" / "1" in scanner.folders()


def test_no_folder_outside_a_root_is_listened_in(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    for name, target in (("a", "/"), ("b", "/proc"), ("c", builders.write(tmp_path / "out"))):
        (root / name).symlink_to(target)
    scanner = Scanner([Root(root)])
    scanner.scan()
    assert list(scanner.folders()) == [root]


def test_deep_folders_are_served_under_the_names_on_the_way(tmp_path: Path) -> None:
    builders.write(tmp_path / "saves" / "SmolLM2" / "lora" / "run")
    builders.write(tmp_path / "saves" / "SmolLM2" / "lora" / "run" / "checkpoint-10")
    assert scan(tmp_path) == (["saves/SmolLM2.lora.run"], {})


def test_a_deep_folder_without_a_possible_name_is_told_with_what_to_do(tmp_path: Path) -> None:
    builders.write(tmp_path / "saves" / ("m" * 40) / ("n" * 40) / "run")
    names, ignored = scan(tmp_path)
    assert names == []
    assert "`adapters.roots`" in ignored["run"]


def test_two_folders_of_one_root_with_one_name_are_told_about(tmp_path: Path) -> None:
    builders.write(tmp_path / "team" / "a.b")
    builders.write(tmp_path / "team" / "a" / "b")
    names, ignored = scan(tmp_path)
    assert names == ["team/a.b"]
    assert ignored == {"b": "`team/a.b` has the same name: rename one"}


def cache(root: Path, *snapshots: str) -> Path:
    repository = root / "models--acme--tone"
    for seed, snapshot in enumerate(snapshots):
        folder = builders.write(repository / "snapshots" / snapshot, seed=seed)
        for file in sorted(folder.iterdir()):
            blob = repository / "blobs" / f"{snapshot}-{file.name}"
            blob.parent.mkdir(exist_ok=True)
            file.rename(blob)
            file.symlink_to(f"../../blobs/{blob.name}")
        os.utime(folder, (seed, seed))
    return repository


def folders_of(root: Path) -> dict[str, str]:
    scanner = Scanner([Root(root)])
    scanner.scan()
    return {name: seen.folder.name for name, seen in scanner.seen(0.0)[0].items()}


def test_a_cache_of_the_hub_is_served_as_its_repository_at_main(tmp_path: Path) -> None:
    repository = cache(tmp_path, "abc", "def")
    assert folders_of(tmp_path) == {"acme/tone": "def"}
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    assert folders_of(tmp_path) == {"acme/tone": "abc"}


def test_a_pipe_for_main_holds_up_no_look(tmp_path: Path) -> None:
    repository = cache(tmp_path, "abc")
    (repository / "refs").mkdir()
    os.mkfifo(repository / "refs" / "main")
    assert folders_of(tmp_path) == {"acme/tone": "abc"}


def test_a_tree_without_end_is_not_searched_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "_MOST_FOLDERS", 20)
    for index in range(30):
        (tmp_path / "big" / f"{index:02}").mkdir(parents=True)
    builders.write(tmp_path / "a")
    names, ignored = scan(tmp_path)
    assert names == ["a"]
    assert ignored == {"big": "it holds more than 20 folders; not all were looked at"}


def test_a_thousand_odd_entries_are_each_told_once(tmp_path: Path) -> None:
    for index in range(1000):
        (tmp_path / f"{index:05}").symlink_to("nothing")
    builders.write(tmp_path / "a")
    names, ignored = scan(tmp_path)
    assert names == ["a"]
    assert len(ignored) == 1000
