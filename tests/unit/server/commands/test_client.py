"""What is typed after ``veneer adapters`` and what is shown, without a server."""

import io
import json
from typing import Any

import pytest
from rich.console import Console

from veneer_server.commands.client import tables
from veneer_server.commands.client.documents import Adapter, Alias, Revision
from veneer_server.commands.client.failures import BadArgument, ContentRefused, Refused
from veneer_server.commands.client.targets import (
    address,
    server_url,
    to_alias,
    to_move,
    to_name,
    to_source,
    to_targets,
    without_v1,
)
from veneer_server.commands.client.watching import is_settled
from veneer_server.settings import Settings


def adapter(**members: Any) -> Adapter:
    return Adapter.model_validate({"name": "pirate", "state": "ready", **members})


def alias(*targets: tuple[int, int], **members: Any) -> Alias:
    shown = [{"revision": number, "weight": weight} for number, weight in targets]
    known = {"adapter": "pirate", "alias": "live", "version": 7, "targets": shown}
    return Alias.model_validate(known | members)


def printed(table: Any) -> str:
    out = io.StringIO()
    Console(file=out, width=300).print(table)
    return out.getvalue()


@pytest.mark.parametrize(
    ("host", "port", "url"),
    [
        ("127.0.0.1", 8000, "http://127.0.0.1:8000"),
        ("0.0.0.0", 9000, "http://127.0.0.1:9000"),  # noqa: S104 - compared, not bound
        ("::", 9000, "http://127.0.0.1:9000"),
        ("::1", 8000, "http://[::1]:8000"),
        ("veneer.example", 80, "http://veneer.example:80"),
    ],
)
def test_a_server_that_listens_everywhere_is_reached_on_loopback(
    host: str, port: int, url: str
) -> None:
    assert server_url(host, port) == url


def test_a_port_that_was_left_to_the_system_must_be_named() -> None:
    with pytest.raises(BadArgument, match="--url"):
        server_url("127.0.0.1", 0)


@pytest.mark.parametrize("text", ["http://a:1", "http://a:1/", "http://a:1/v1", "http://a:1/v1/"])
def test_the_url_may_be_the_one_openai_clients_use(text: str) -> None:
    assert without_v1(text) == "http://a:1"


def test_a_relative_folder_becomes_absolute_and_a_url_stays(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/someone")
    assert to_source("out/../mine") == f"{tmp_path}/mine"
    assert to_source("~/mine") == "/home/someone/mine"
    assert to_source("/a/b") == "/a/b"
    assert to_source("hf://acme/pirate@v1") == "hf://acme/pirate@v1"


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("pirate", ("pirate", "live")),
        ("pirate@canary", ("pirate", "canary")),
        ("acme/pirate@live", ("acme/pirate", "live")),
    ],
)
def test_a_name_alone_means_its_live_alias(text: str, read: tuple[str, str]) -> None:
    assert to_alias(text) == read


@pytest.mark.parametrize("text", ["pirate@3", "pirate@", "../x", "", "pirate@sha256:0123456789ab"])
def test_what_is_no_alias_is_not_taken_for_one(text: str) -> None:
    with pytest.raises(BadArgument, match="NAME@ALIAS"):
        to_alias(text)


@pytest.mark.parametrize("text", ["..", "", "a/b/c", "a@live", "a b"])
def test_what_cannot_name_an_adapter_never_becomes_part_of_a_url(text: str) -> None:
    with pytest.raises(BadArgument):
        to_name(text)


def test_a_split_is_read_into_targets() -> None:
    wanted = [{"revision": 3, "weight": 90}, {"revision": 4, "weight": 10}]
    assert to_targets("3=90,4=10") == wanted
    assert to_targets("3=90, 4=10") == wanted
    assert to_targets("5=1") == [{"revision": 5, "weight": 1}]


@pytest.mark.parametrize(
    ("split", "said"),
    [
        ("", "3=90,4=10"),
        ("3", "3=90,4=10"),
        ("3=90,", "3=90,4=10"),
        ("3=-1", "3=90,4=10"),
        ("3=1.5", "3=90,4=10"),
        ("live=1", "3=90,4=10"),
        ("3=1,3=2", "twice"),
        ("3=0,4=1", "3=90,4=10"),
        ("0=1", "3=90,4=10"),
    ],
)
def test_a_split_that_says_nothing_sensible_is_refused(split: str, said: str) -> None:
    with pytest.raises(BadArgument, match=said):
        to_targets(split)


def test_a_move_is_a_revision_or_a_split_with_its_conditions() -> None:
    assert to_move(None, None, None, None, None) is None
    assert to_move(3, None, None, None, None) == {"revision": 3}
    assert to_move(None, "3=9,4=1", None, None, None) == {"targets": to_targets("3=9,4=1")}
    assert to_move(None, "3=9,4=1", "user", 200, None) == {
        "targets": to_targets("3=9,4=1"),
        "sticky": "user",
        "guard": {"min_requests": 200, "margin": 0.05},
    }


@pytest.mark.parametrize(
    "typed",
    [
        (3, "3=1", None, None, None),
        (3, None, "user", None, None),
        (None, None, None, 200, None),
        (None, "3=1,4=1", None, None, 0.1),
    ],
)
def test_conditions_without_what_they_belong_to_are_refused(typed: Any) -> None:
    with pytest.raises(BadArgument):
        to_move(*typed)


WORK = {"stage": "fetch", "done_bytes": 1, "total_bytes": 4}


@pytest.mark.parametrize(
    ("seen", "settled"),
    [
        (adapter(state="staging"), False),
        (adapter(state="ready", progress=WORK), False),
        (adapter(state="resident", progress=WORK, reason="truncated"), False),
        (adapter(state="staging", reason="source_unavailable"), True),
        (adapter(state="failed", reason="truncated"), True),
        (adapter(state="ready"), True),
        (adapter(state="resident"), True),
    ],
)
def test_content_is_settled_when_nothing_works_on_it_any_more(seen: Adapter, settled: bool) -> None:
    assert is_settled(seen) is settled


def test_shares_are_shown_in_per_cent_of_all_weights() -> None:
    assert tables.shares(alias((4, 1))) == "4"
    assert tables.shares(alias((3, 9), (4, 1))) == "90% 3, 10% 4"
    assert tables.shares(alias((3, 2), (4, 1))) == "66.7% 3, 33.3% 4"
    assert tables.shares(alias((3, 0), (4, 0))) == "0% 3, 0% 4"


def test_an_alias_is_told_in_one_sentence() -> None:
    assert tables.alias_line(alias((4, 1))) == "pirate@live points to revision 4 (version 7)."
    guarded = {"min_requests": 200, "margin": 0.05}
    told = tables.alias_line(alias((3, 9), (4, 1), sticky="user", guard=guarded))
    assert told == (
        "pirate@live points to revisions 90% 3, 10% 4, sticky by user, "
        "guarded (+5% after 200) (version 7)."
    )


def test_the_state_tells_how_far_work_on_new_content_is() -> None:
    assert tables.state_of(adapter()) == "ready"
    assert tables.state_of(adapter(progress=WORK)) == "ready (fetch 25%)"
    assert tables.state_of(adapter(progress={"stage": "prove"})) == "ready (prove)"


def test_facts_that_are_not_known_are_left_out() -> None:
    revision = Revision(number=2, digest="sha256:" + "ab" * 32, state="ready", rank=16)
    shown = printed(tables.revision_facts("pirate", revision))
    assert "pirate@2" in shown
    assert "sha256:" + "ab" * 32 in shown
    assert "alpha" not in shown


def test_what_a_server_wrote_cannot_move_the_cursor_or_style_itself() -> None:
    shown = printed(tables.adapters_table([adapter(reason="\x1b[2J[red]x\ny")]))
    assert "\x1b" not in shown
    assert "[red]x y" in shown
    assert "\x1b" not in str(Refused("a\x1b[2Jb"))


def test_a_refusal_says_its_reason_and_what_to_do() -> None:
    truncated = Refused("It ends early.", code="adapter_invalid", param="truncated")
    assert str(truncated) == "It ends early. (reason: truncated)"
    pinned = Refused("It stays.", code="adapter_conflict", param="adapter_pinned")
    assert str(pinned) == "It stays. (reason: adapter_pinned)"
    assert str(Refused("No.", code="model_not_found", param="model")) == "No."
    assert "publish" in str(Refused("It exists.", code="adapter_exists"))
    assert str(Refused("Not Found", code="unknown_url")).startswith("Not Found. It may not be")
    assert str(Refused("Later.", code="adapter_capacity", retry_after="5")) == (
        "Later. Try again in 5 s."
    )
    refused = ContentRefused("pirate", "no_effect", "Every product is zero.")
    assert str(refused) == (
        "The server cannot serve the new content of pirate: Every product is zero."
        " (reason: no_effect)"
    )


def test_members_this_version_does_not_know_are_passed_on() -> None:
    sent = {"name": "a", "state": "ready", "novel": {"x": 1}, "progress": None}
    assert Adapter.model_validate(sent).as_json() == sent
    dated = sent | {"created": 1_790_000_000}
    assert json.dumps(Adapter.model_validate(dated).as_json()["created"]) == "1790000000"
    split = alias((3, 90), (4, 10))
    assert split.as_json()["targets"] == [
        {"revision": 3, "weight": 90},
        {"revision": 4, "weight": 10},
    ]


@pytest.mark.parametrize(
    ("given", "exported", "url"),
    [
        ({}, None, "http://127.0.0.1:8000"),
        ({}, "http://127.0.0.1:9000/v1", "http://127.0.0.1:9000/v1"),
        ({}, "", "http://127.0.0.1:8000"),
        ({"port": 8001}, "http://127.0.0.1:9000/v1", "http://127.0.0.1:8001"),
        ({"host": "::1"}, "http://127.0.0.1:9000/v1", "http://[::1]:8000"),
        ({"keep_alive_s": 5}, "http://127.0.0.1:9000/v1", "http://127.0.0.1:9000/v1"),
    ],
)
def test_the_exported_url_is_the_last_default_but_one(
    given: dict[str, Any], exported: str | None, url: str
) -> None:
    settings = Settings.load(environ={}, flags={"server": given} if given else {}).server
    assert address(settings, exported) == url
