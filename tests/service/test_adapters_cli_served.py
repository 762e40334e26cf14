"""``veneer adapters`` against a server as a user starts it, on the echo engine."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import builders
from support.serving import Served, start_process
from support.typed import done, failed, parsed

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    with start_process(folder, flags=["--engine", "echo"]) as served:
        yield served


@pytest.fixture
def folders(served: Served, request: pytest.FixtureRequest) -> list[str]:
    """Three folders with different adapters, where the server may take them from."""
    # Hidden, so that the server does not take them by itself.
    places = [served.adapters / ".incoming" / request.node.name / str(n) for n in range(3)]
    for seed, place in enumerate(places):
        builders.write(place, seed=seed)
    return [str(place) for place in places]


def test_a_revision_is_published_tried_rolled_back_and_found_again(
    served: Served, folders: list[str]
) -> None:
    url, first, second, third = served.url, *folders
    assert "story@1" in done(url, "add", "story", first)
    assert parsed(url, "publish", "story", second)["number"] == 2
    assert parsed(url, "publish", "story", third, "--no-alias")["number"] == 3
    assert parsed(url, "show", "story")["live"] == 2

    split = ("--split", "2=90,3=10", "--sticky", "user", "--guard-requests", "200")
    assert "90% 2, 10% 3" in done(url, "alias", "story", *split)
    version = parsed(url, "alias", "story@live")["version"]
    assert "revision 2" in done(url, "rollback", "story")
    stale = ("alias", "story", "3", "--if-version", str(version))
    assert "try again with its new version" in failed(url, *stale)

    assert parsed(url, "publish", "story", first)["number"] == 1
    assert "already has" in done(url, "publish", "story", first, "--no-alias")
    moves = parsed(url, "history", "story")["data"]
    assert [move["by"] for move in moves] == ["publish", "rollback", "move", "publish", "publish"]
    assert len(parsed(url, "revisions", "story")["data"]) == 3
    assert parsed(url, "revisions", "story", "--limit", "2")["has_more"] is True


def test_a_folder_of_this_machine_is_uploaded_and_a_missing_file_named(
    served: Served, tmp_path: Path
) -> None:
    url, folder = served.url, builders.write(tmp_path / "sent", seed=11)
    told = done(url, "upload", "sent", str(folder))
    assert "sent@1" in told
    assert re.search(r"source +upload", told)
    other = builders.write(tmp_path / "other", seed=12)
    assert parsed(url, "upload", "sent", str(other), "--alias", "next")["number"] == 2
    assert parsed(url, "show", "sent")["live"] == 1
    (other / "adapter_model.safetensors").unlink()
    assert "adapter_model.safetensors cannot be read" in failed(
        url, "upload", "sent", str(other), code=2
    )


def test_an_adapter_is_pinned_from_the_start_until_it_is_let_go(
    served: Served, folders: list[str]
) -> None:
    url = served.url
    done(url, "add", "team/kept", folders[0], "--pin")
    shown = parsed(url, "show", "team/kept")
    assert (shown["pinned"], shown["state"]) == (True, "resident")
    assert "(reason: adapter_pinned)" in failed(url, "unload", "team/kept")
    done(url, "unpin", "team/kept")
    done(url, "unload", "team/kept")
    done(url, "load", "team/kept")
    assert parsed(url, "show", "team/kept")["state"] == "resident"
    done(url, "rm", "team/kept", "--yes")
    assert "does not exist" in failed(url, "show", "team/kept")


def test_an_adapter_added_again_serves_the_content_it_is_given(
    served: Served, folders: list[str]
) -> None:
    url, first, second, _ = served.url, *folders
    done(url, "add", "again", first)
    done(url, "publish", "again", second)
    done(url, "rm", "again", "--yes")
    assert "again@1" in done(url, "add", "again", first)


def test_what_cannot_be_served_says_why_and_leaves_what_serves(
    served: Served, folders: list[str], tmp_path: Path
) -> None:
    url, first, second, third = served.url, *folders
    done(url, "add", "good", first)
    weights = Path(second) / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    for _ in range(2):
        assert "(reason: truncated)" in failed(url, "publish", "good", second)
    assert parsed(url, "show", "good")["live"] == 1
    assert parsed(url, "publish", "good", third)["number"] == 2

    builders.write(tmp_path / "outside")
    outside = failed(url, "add", "bad", str(tmp_path / "outside"))
    assert "(reason: path_not_allowed)" in outside
    assert "(reason: source_not_allowed)" in failed(url, "add", "bad", "hf://acme/bad")
    assert "publish" in failed(url, "add", "good", first)
    assert "does not exist" in failed(url, "show", "bad")
