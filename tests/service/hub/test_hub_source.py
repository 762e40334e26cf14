"""Adapters from the Hugging Face Hub: the real client against a small stub of its HTTP API."""

from pathlib import Path

import pytest
from huggingface_hub import constants
from werkzeug import Request

from service.hub.hub import COMMIT, LATER, NEW, OLD, TOKEN, Hub, There, empty, files
from veneer_adapters.artifact.files import FILES
from veneer_adapters.errors import (
    MissingFile,
    SourceNotAllowed,
    SourceUnavailable,
)
from veneer_adapters.sources.fetching import Fetched
from veneer_adapters.sources.remote import remote_sources

pytestmark = pytest.mark.slow  # servers of its own, retries and deadlines


async def test_both_files_arrive_at_the_commit_the_revision_means(hub: Hub, there: There) -> None:
    hub.commits[COMMIT]["README.md"] = b"no"
    seen: list[tuple[int, int | None]] = []
    found = await there.fetch(on_bytes=lambda *step: seen.append(step))
    assert found == Fetched(there.into, f"hf://org/name@{COMMIT}")
    assert files(there.into) == OLD
    size = sum(map(len, OLD.values()))
    assert (seen[0], seen[-1]) == ((0, size), (size, size))
    assert hub.tokens == {f"Bearer {TOKEN}"}
    loaded = {path for path in hub.asked if path.startswith("GET") and "/resolve/" in path}
    assert loaded == {f"GET /org/name/resolve/{COMMIT}/{name}" for name in FILES}


async def test_a_revision_that_moves_meanwhile_is_not_mixed(hub: Hub, there: There) -> None:
    hub.commits[LATER] = NEW

    def move(request: Request) -> None:
        if "/resolve/" in request.path:
            hub.refs["main"] = LATER

    hub.trouble = move
    assert (await there.fetch()).pinned == f"hf://org/name@{COMMIT}"
    assert files(there.into) == OLD
    empty(there.into)
    assert (await there.fetch("hf://org/name@main")).pinned == f"hf://org/name@{LATER}"
    assert files(there.into) == NEW


async def test_what_was_pinned_can_be_fetched_again(hub: Hub, there: There) -> None:
    pinned = (await there.fetch()).pinned
    hub.commits[LATER], hub.refs["main"] = NEW, LATER
    empty(there.into)
    assert (await there.fetch(pinned)).pinned == pinned
    assert files(there.into) == OLD


async def test_a_subfolder_may_hold_the_adapter(hub: Hub, there: There) -> None:
    hub.commits[COMMIT] = {f"a/b/{name}": body for name, body in OLD.items()}
    found = await there.fetch("hf://org/name@main/a/b")
    assert found.pinned == f"hf://org/name@{COMMIT}/a/b"
    assert files(there.into) == OLD


async def test_what_is_in_the_cache_is_not_loaded_again(hub: Hub, there: There) -> None:
    await there.fetch()
    empty(there.into)
    hub.asked.clear()
    await there.fetch()
    assert hub.asked == ["GET /api/models/org/name"]
    assert files(there.into) == OLD


async def test_offline_only_the_cache_is_asked(
    hub: Hub, there: There, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned = (await there.fetch("hf://org/name@main")).pinned
    empty(there.into)
    hub.asked.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert (await there.fetch(pinned)).pinned == pinned
    assert files(there.into) == OLD
    empty(there.into)
    error = await there.refused(f"hf://org/name@{LATER}")
    assert isinstance(error, SourceUnavailable)
    assert "may not be asked" in str(error)
    assert hub.asked == []


@pytest.mark.parametrize(
    "location", ["hf://org/other", "hf://org/name@nowhere", "hf://org/name/nowhere"]
)
async def test_what_the_hub_does_not_have_is_missing(location: str, hub: Hub, there: There) -> None:
    assert isinstance(await there.refused(location), MissingFile)
    assert len(hub.asked) == 1


@pytest.mark.parametrize("name", FILES)
async def test_a_repository_without_one_of_the_files_is_missing_it(
    name: str, hub: Hub, there: There
) -> None:
    del hub.commits[COMMIT][name]
    error = await there.refused()
    assert isinstance(error, MissingFile)
    assert name in str(error)
    assert len(hub.asked) == 1


@pytest.mark.parametrize(
    "location",
    ["hf://other/name", "hf://org/a--b", "hf://org/name@a#b", "hf://org", "hf://org/name/../x"],
)
async def test_only_configured_organisations_are_asked(
    location: str, hub: Hub, there: There
) -> None:
    assert isinstance(await there.refused(location), SourceNotAllowed)
    assert hub.asked == []


async def test_a_star_allows_everybody(hub: Hub, there: There) -> None:
    await there.fetch(orgs=("*",))
    assert files(there.into) == OLD


async def test_nothing_is_asked_of_the_hub_unless_it_is_configured(into: Path) -> None:
    with pytest.raises(SourceNotAllowed):
        await remote_sources(hub_orgs=["org"]).fetch("hf://other/name", into)
    with pytest.raises(SourceNotAllowed):
        await remote_sources().fetch("hf://org/name", into)
