"""``veneer adapters`` as a user types it, against the contract of the adapter routes."""

from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer

from support import builders
from support.adapters_stub import AdaptersStub
from support.typed import call, done, failed, parsed

# What a user does, on any server


def test_an_added_adapter_is_listed_and_its_facts_are_shown(server: str, source: Path) -> None:
    told = done(server, "add", "mine", str(source))
    assert "mine@1" in told
    assert "sha256:" in told

    assert "mine" in done(server, "list")
    [row] = parsed(server, "list")["data"]
    assert (row["name"], row["live"]) == ("mine", 1)
    shown = done(server, "show", "mine")
    assert "mine@live" in shown
    assert "sha256:" in shown
    assert parsed(server, "show", "mine")["name"] == "mine"


def test_publishing_moves_live_and_rolling_back_moves_it_back(server: str, source: Path) -> None:
    done(server, "add", "mine", str(source))
    builders.write(source, seed=2)

    assert parsed(server, "publish", "mine", str(source))["number"] == 2
    assert parsed(server, "show", "mine")["live"] == 2
    assert "revision 1" in done(server, "rollback", "mine")
    assert parsed(server, "show", "mine")["live"] == 1

    numbers = [row["number"] for row in parsed(server, "revisions", "mine")["data"]]
    assert sorted(numbers) == [1, 2]
    assert len(parsed(server, "history", "mine")["data"]) == 3
    assert "rollback" in done(server, "history", "mine")


def test_a_revision_published_without_an_alias_leaves_live_alone(server: str, source: Path) -> None:
    done(server, "add", "mine", str(source))
    builders.write(source, seed=2)
    done(server, "publish", "mine", str(source), "--no-alias")
    found = parsed(server, "show", "mine")
    assert (found["live"], found["latest"]) == (1, 2)


def test_a_canary_is_split_shown_and_removed(server: str, source: Path) -> None:
    done(server, "add", "mine", str(source))
    builders.write(source, seed=2)
    done(server, "publish", "mine", str(source), "--no-alias")

    canary = ("--sticky", "user", "--guard-requests", "200", "--guard-margin", "0.1")
    told = done(server, "alias", "mine@canary", "--split", "1=90,2=10", *canary)
    assert "90% 1, 10% 2" in told
    shown = parsed(server, "alias", "mine@canary")
    assert shown["guard"] == {"min_requests": 200, "margin": 0.1}
    assert "mine@canary" in done(server, "alias", "mine")
    assert "mine@live" in done(server, "alias", "mine")

    done(server, "alias", "mine@canary", "--delete")
    assert "has no alias canary" in failed(server, "alias", "mine@canary")


def test_an_alias_moves_only_from_the_version_that_was_named(server: str, source: Path) -> None:
    done(server, "add", "mine", str(source))
    builders.write(source, seed=2)
    done(server, "publish", "mine", str(source))
    version = parsed(server, "alias", "mine@live")["version"]

    moved = parsed(server, "alias", "mine", "1", "--if-version", str(version))
    assert moved["targets"][0]["revision"] == 1
    told = failed(server, "alias", "mine", "2", "--if-version", str(version))
    assert "try again with its new version" in told
    assert parsed(server, "show", "mine")["live"] == 1


def test_an_adapter_is_pinned_loaded_unloaded_and_removed(server: str, source: Path) -> None:
    done(server, "add", "mine", str(source), "--pin")
    assert parsed(server, "show", "mine")["pinned"] is True
    done(server, "load", "mine")
    assert parsed(server, "show", "mine")["state"] == "resident"
    assert "(reason: adapter_pinned)" in failed(server, "unload", "mine")
    done(server, "unpin", "mine")
    assert parsed(server, "show", "mine")["pinned"] is False
    done(server, "unload", "mine")
    assert parsed(server, "show", "mine")["state"] in ("evicting", "ready")
    done(server, "pin", "mine")
    assert parsed(server, "show", "mine")["pinned"] is True
    done(server, "rm", "mine", "--yes")
    assert parsed(server, "list")["data"] == []


def test_a_name_with_a_namespace_works_everywhere(server: str, source: Path) -> None:
    done(server, "add", "acme/mine", str(source))
    assert parsed(server, "show", "acme/mine")["name"] == "acme/mine"
    assert "acme/mine@live" in done(server, "alias", "acme/mine@live", "1")
    done(server, "rm", "acme/mine", "--yes")


def test_what_does_not_exist_is_said_in_one_sentence(server: str) -> None:
    told = failed(server, "show", "mine")
    assert "`mine` does not exist" in told
    assert len(told.splitlines()) == 1


def test_a_second_adapter_of_one_name_is_told_how_to_publish(server: str, source: Path) -> None:
    done(server, "add", "mine", str(source))
    assert "veneer adapters publish" in failed(server, "add", "mine", str(source))


def test_a_source_that_is_not_allowed_is_refused_with_its_reason(server: str) -> None:
    told = failed(server, "add", "mine", "https://example.com/mine/")
    assert "(reason: source_not_allowed)" in told


@pytest.mark.parametrize(
    "arguments",
    [
        ("show", ".."),
        ("alias", "mine@3", "1"),
        ("alias", "mine", "--split", "1:2"),
        ("alias", "mine", "--sticky", "user"),
        ("alias", "mine", "--sticky", "tenant", "--split", "1=1"),
        ("alias", "mine", "--delete"),
        ("alias", "mine@x", "1", "--delete"),
        ("alias", "mine@x", "--if-version", "1"),
        ("rm", "mine"),
        ("list", "--limit", "0"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_the_server_is_asked(
    server: str, stub: AdaptersStub, arguments: tuple[str, ...]
) -> None:
    failed(server, *arguments, code=2)
    assert stub.seen == []


# What goes over the wire


def test_names_are_one_segment_of_the_path(server: str, stub: AdaptersStub) -> None:
    stub.have("acme/mine")
    done(server, "show", "acme/mine")
    assert stub.seen[0].path == "/v1/adapters/acme%2Fmine"


def test_a_relative_folder_is_sent_absolute(
    server: str, stub: AdaptersStub, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(source.parent)
    done(server, "add", "mine", "./new", "--allow-no-effect")
    assert stub.seen[0].body == {
        "name": "mine",
        "source": str(source),
        "pinned": False,
        "allow_no_effect": True,
        "wait": False,
    }


def test_every_post_has_a_key_of_its_own(server: str, stub: AdaptersStub, source: Path) -> None:
    done(server, "add", "mine", str(source))
    done(server, "load", "mine")
    done(server, "load", "mine")
    keys = [seen.headers["Idempotency-Key"] for seen in stub.seen if seen.method == "POST"]
    assert len(set(keys)) == len(keys) == 3


def test_a_listing_is_followed_to_its_last_page(server: str, stub: AdaptersStub) -> None:
    stub.page = 2
    for name in "abcde":
        stub.have(name)
    assert [row["name"] for row in parsed(server, "list")["data"]] == list("abcde")
    assert [seen.query.get("after") for seen in stub.seen] == [None, "c2", "c4"]


def test_a_limit_stops_the_listing_and_says_that_there_is_more(
    server: str, stub: AdaptersStub
) -> None:
    stub.page = 2
    for name in "abcde":
        stub.have(name)
    found = parsed(server, "list", "--limit", "3")
    assert [row["name"] for row in found["data"]] == list("abc")
    assert found["has_more"] is True
    assert [seen.query["limit"] for seen in stub.seen] == ["3", "1"]
    assert "--limit" in call("list", "--limit", "3", "--url", server).stderr
    assert parsed(server, "list", "--limit", "5")["has_more"] is False


def test_address_and_key_come_from_the_settings_and_options_win(
    server: str, stub: AdaptersStub, httpserver: HTTPServer
) -> None:
    stub.key = "right"
    settings = {
        "VENEER_SERVER__HOST": "0.0.0.0",  # noqa: S104 - a setting, nothing binds it
        "VENEER_SERVER__PORT": str(httpserver.port),
        "VENEER_SERVER__API_KEY": "right",
    }
    assert call("list", environ=settings).exit_code == 0
    wrong = call("list", environ=settings | {"VENEER_SERVER__API_KEY": "wrong"})
    assert wrong.exit_code == 1
    assert "VENEER_SERVER__API_KEY or --key" in wrong.stderr
    elsewhere = {"VENEER_SERVER__PORT": "1"}
    assert call("list", "--url", f"{server}/v1", "--key", "right", environ=elsewhere).exit_code == 0


def test_a_proxy_is_not_asked_for_this_machine(server: str) -> None:
    nowhere = {"HTTP_PROXY": "http://127.0.0.1:9", "ALL_PROXY": "http://127.0.0.1:9"}
    assert call("list", "--url", server, environ=nowhere).exit_code == 0
