"""``veneer adapters`` as a user types it, against the contract of the adapter routes."""

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from support import builders
from support.adapters_stub import AdaptersStub
from support.serving import free_port
from support.typed import call, done, failed, parsed
from veneer_server.commands import adapters as adapters_cli
from veneer_server.commands.client.connection import Connection
from veneer_server.commands.client.failures import CannotConnect, NoAnswer

FETCHING = {"stage": "fetch", "done_bytes": 10, "total_bytes": 20}
STEPS = [FETCHING, FETCHING, {"stage": "prove", "done_bytes": None, "total_bytes": None}]


@pytest.fixture
def stub() -> AdaptersStub:
    return AdaptersStub()


@pytest.fixture
def server(stub: AdaptersStub, httpserver: HTTPServer) -> str:
    """The URL of a server with the adapter routes and no adapters."""
    httpserver.expect_request(re.compile(".*")).respond_with_handler(stub)
    return httpserver.url_for("").rstrip("/")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder the server may take an adapter from."""
    builders.write(tmp_path / "adapters" / "new")
    return tmp_path / "adapters" / "new"


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


@pytest.fixture
def ctrl_c() -> Iterator[Callable[[], None]]:
    """What a terminal does on Ctrl-C, also where our parent ignores SIGINT, as under nohup."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield lambda: os.kill(os.getpid(), signal.SIGINT)
    signal.signal(signal.SIGINT, before)


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


# A connection that fails


def test_no_server_is_one_sentence_that_says_where_and_what_to_do() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    told = failed(url, "list")
    assert f"There is no server at {url} (Connection refused)" in told
    assert "veneer serve" in told
    assert len(told.splitlines()) == 1


@contextmanager
def deaf(backlog: int) -> Iterator[str]:
    """Listen, and never take a connection; those beyond the backlog are not even made."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(backlog)
        yield "http://{}:{}".format(*listener.getsockname())


def test_a_server_that_never_answers_is_not_waited_for_for_ever() -> None:
    said = pytest.raises(NoAnswer, match=r"did not answer within 0\.05 s")
    with deaf(8) as url, Connection(url, answer_s=0.05) as connection, said:
        connection.post("/v1/adapters")


def test_a_server_that_takes_no_connection_is_as_good_as_none() -> None:
    with deaf(0) as url, ExitStack() as others:
        where = url.removeprefix("http://").split(":")
        for _ in range(3):
            other = others.enter_context(socket.socket())
            other.setblocking(False)
            other.connect_ex((where[0], int(where[1])))
        said = pytest.raises(CannotConnect, match="does not take the connection")
        with Connection(url, connect_s=0.05) as connection, said:
            connection.get("/v1/adapters")


def broken(request: Request) -> Response:
    """Cut the connection without an answer."""
    request.environ["werkzeug.socket"].shutdown(2)
    return Response(status=500)


def test_a_post_whose_connection_broke_is_repeated_with_its_key(
    server: str, stub: AdaptersStub, httpserver: HTTPServer
) -> None:
    stub.have("mine")
    keys = []

    def done_but_not_told(request: Request) -> Response:
        stub(request)
        keys.append(request.headers["idempotency-key"])
        return broken(request)

    httpserver.expect_oneshot_request("/v1/adapters/mine/load").respond_with_handler(
        done_but_not_told
    )
    done(server, "load", "mine")
    assert stub.done == ["load mine"]
    assert [seen.headers["Idempotency-Key"] for seen in stub.seen] == keys * 2


@pytest.mark.parametrize(
    "arguments", [("rm", "mine", "--yes"), ("alias", "mine", "1", "--if-version", "1")]
)
def test_what_would_misread_its_own_success_is_not_repeated(
    server: str, stub: AdaptersStub, httpserver: HTTPServer, arguments: tuple[str, ...]
) -> None:
    stub.have("mine")
    httpserver.expect_oneshot_request(re.compile(".*")).respond_with_handler(broken)
    assert server in failed(server, *arguments)
    assert stub.seen == []


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, "<html>"),
        (404, "<html>"),
        (302, ""),
        (500, "[]"),
        (500, '{"error": "x"}'),
        (200, "[]"),
        (200, '{"data": [{"name": 1}]}'),
        (200, '{"data": [], "has_more": true, "next": "c1"}'),
    ],
)
def test_what_is_not_veneer_is_said_to_be_something_else(
    httpserver: HTTPServer, status: int, body: str
) -> None:
    httpserver.expect_request("/v1/adapters").respond_with_data(body, status)
    told = failed(httpserver.url_for("").rstrip("/"), "list")
    assert "is not a Veneer server" in told


def test_a_listing_without_end_is_not_followed_for_ever(httpserver: HTTPServer) -> None:
    def empty(request: Request) -> Response:
        after = int(request.args.get("after", "0"))
        page = {"object": "list", "data": [], "has_more": True, "next": str(after + 1)}
        return Response(json.dumps(page), content_type="application/json")

    httpserver.expect_request("/v1/adapters").respond_with_handler(empty)
    assert "no next page" in failed(httpserver.url_for("").rstrip("/"), "list")


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://x", "http://", "http://u:p@h"])
def test_a_url_that_is_none_is_told_its_form(url: str) -> None:
    assert "Write --url as http://" in failed(url, "list", code=2)


def test_a_key_that_no_header_can_carry_is_refused(server: str) -> None:
    assert "ASCII" in failed(server, "list", "--key", "geheim\n", code=2)


# Help and terminals


def test_a_table_that_is_piped_has_one_line_for_each_row(server: str, stub: AdaptersStub) -> None:
    stub.have("a-name-that-is-rather-long-for-a-narrow-terminal")
    ended = call("list", "--url", server, environ={"COLUMNS": "40"})
    head, row = ended.stdout.splitlines()
    assert head.split()[:3] == ["NAME", "STATE", "LIVE"]
    assert row.split()[:3] == ["a-name-that-is-rather-long-for-a-narrow-terminal", "ready", "1"]


COMMANDS = [command.name for command in adapters_cli.group.registered_commands]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_has_an_example_that_it_would_take(command: str) -> None:
    told = call(command, "--help").stdout
    assert f"Example: veneer adapters {command}" in told
    assert ("--url" in told) == (command != "check"), "the doctor needs no server"


def test_the_help_of_the_group_explains_its_three_words() -> None:
    told = call("--help").stdout
    for word in ("An adapter is", "A revision is", "An alias such as"):
        assert word in told


@contextmanager
def terminal(*arguments: str) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Run a command on a terminal of its own."""
    ours, its = pty.openpty()
    program = "from veneer_server.commands.main import main; main()"
    command = [sys.executable, "-c", program, "adapters", *arguments]
    with subprocess.Popen(command, stdin=its, stdout=its, stderr=its) as process:
        os.close(its)
        timer = threading.Timer(30, process.kill)
        timer.start()
        try:
            yield ours, process
        finally:
            timer.cancel()
            os.close(ours)


@pytest.mark.slow
@pytest.mark.parametrize(("answer", "code", "left"), [(b"n\n", 1, ["mine"]), (b"y\n", 0, [])])
def test_rm_asks_on_a_terminal(
    server: str, stub: AdaptersStub, answer: bytes, code: int, left: list[str]
) -> None:
    stub.have("mine")
    with terminal("rm", "mine", "--url", server) as (ours, process):
        asked = b""
        while b"?" not in asked:
            asked += os.read(ours, 1000)
        os.write(ours, answer)
        assert process.wait(timeout=30) == code
    assert list(stub.adapters) == left
