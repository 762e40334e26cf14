"""Which name a folder of a root has."""

import pytest

from veneer_adapters.sources.folders.naming import adapter_name, current, holds_snapshots


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("pirate", "pirate"),
        ("team/pirate", "team/pirate"),
        ("saves/SmolLM2-135M/lora/train_2026", "saves/SmolLM2-135M.lora.train_2026"),
        ("models--acme--tone/snapshots/abc123", "acme/tone"),
        ("models--gpt2/snapshots/abc123", "gpt2"),
        ("huggingface/hub/models--acme--tone/snapshots/abc123", "acme/tone"),
        ("models--acme--tone/snapshots/abc123/sub/folder", "acme/tone.sub.folder"),
        ("models--acme--tone", "models--acme--tone"),
        ("snapshots/abc123", "snapshots/abc123"),
    ],
)
def test_a_folder_has_the_name_that_a_person_would_look_for(folder: str, name: str) -> None:
    assert adapter_name(folder.split("/")) == name


def test_only_the_snapshots_of_a_cache_are_taken_for_snapshots() -> None:
    assert holds_snapshots(["hub", "models--a--b", "snapshots"])
    assert not holds_snapshots(["snapshots"])
    assert not holds_snapshots(["models--a--b", "refs"])


def test_the_snapshot_that_main_names_wins_over_a_newer_one() -> None:
    assert current({"old": 1.0, "new": 2.0}, "old") == "old"


def test_without_main_the_newest_snapshot_is_the_current_one() -> None:
    assert current({"old": 1.0, "new": 2.0}, "gone") == "new"
