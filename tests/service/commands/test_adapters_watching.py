"""``veneer adapters`` follows what the server does, however long it takes."""

import json
from collections.abc import Callable
from pathlib import Path

from support.adapters_stub import AdaptersStub
from support.typed import call, done, failed, parsed

FETCHING = {"stage": "fetch", "done_bytes": 10, "total_bytes": 20}


STEPS = [FETCHING, FETCHING, {"stage": "prove", "done_bytes": None, "total_bytes": None}]


# Long work


def test_stages_are_told_once_each_and_json_stays_clean(
    server: str, stub: AdaptersStub, source: Path
) -> None:
    stub.looks = [*STEPS]
    ended = call("add", "mine", str(source), "--json", "--url", server)
    assert ended.stderr.splitlines() == ["Fetching mine ...", "Proving mine ..."]
    assert json.loads(ended.stdout) == stub.adapters["mine"]


def test_a_terminal_gets_a_bar(server: str, stub: AdaptersStub, source: Path) -> None:
    stub.looks = [*STEPS]
    forced = {"FORCE_COLOR": "1", "TERM": "xterm"}
    ended = call("add", "mine", str(source), "--url", server, environ=forced)
    assert ended.exit_code == 0
    assert "━" in ended.stderr
    assert "━" not in ended.stdout


def test_content_that_is_refused_says_why_and_what_served_goes_on(
    server: str, stub: AdaptersStub, source: Path
) -> None:
    stub.have("mine")
    stub.looks, stub.refuse = [*STEPS], ("no_effect", "Every product B*A is zero.")
    told = failed(server, "publish", "mine", str(source))
    assert "Every product B*A is zero. (reason: no_effect)" in told
    assert parsed(server, "show", "mine")["live"] == 1


def test_a_revision_that_fails_its_proof_is_a_failure(
    server: str, stub: AdaptersStub, source: Path
) -> None:
    stub.have("mine")
    stub.facts = {"state": "failed", "reason": "garbage_output", "detail": "It babbles."}
    told = failed(server, "publish", "mine", str(source), "--no-alias")
    assert "It babbles. (reason: garbage_output)" in told


def test_watching_ends_in_time_and_says_that_the_server_goes_on(
    server: str, stub: AdaptersStub, source: Path
) -> None:
    stub.looks = [FETCHING] * 1000
    told = failed(server, "add", "mine", str(source), "--timeout", "0")
    assert "The server has not finished after 0 s; it goes on with the work." in told


def test_ctrl_c_leaves_the_servers_work_running_and_says_so(
    server: str, stub: AdaptersStub, source: Path, ctrl_c: Callable[[], None]
) -> None:
    stub.looks = [FETCHING] * 1000
    stub.on_look = ctrl_c
    told = failed(server, "add", "mine", str(source), code=130)
    assert "the server goes on with the work" in told
    assert "veneer adapters show mine" in told


def test_known_files_make_no_revision_and_the_one_they_are_is_shown(
    server: str, stub: AdaptersStub, source: Path
) -> None:
    stub.have("mine", revisions=2)
    stub.known = 1
    assert parsed(server, "publish", "mine", str(source))["number"] == 1
    assert parsed(server, "publish", "mine", str(source))["number"] == 1
    assert parsed(server, "show", "mine")["latest"] == 2
    told = done(server, "publish", "mine", str(source), "--no-alias")
    assert told == "mine already has a revision with these files, so there is no new one.\n"


def test_an_adapter_added_again_ends_with_the_revision_that_serves(
    server: str, stub: AdaptersStub, source: Path
) -> None:
    stub.have("mine", revisions=2)
    done(server, "rm", "mine", "--yes")
    stub.known = 1
    assert "mine@1" in done(server, "add", "mine", str(source))


def test_a_source_that_fails_after_it_failed_before_is_a_failure_again(
    server: str, stub: AdaptersStub, source: Path
) -> None:
    stub.have("mine")
    stub.refuse = ("source_unavailable", "It does not answer.")
    for _ in range(2):
        assert "source_unavailable" in failed(server, "publish", "mine", str(source))
