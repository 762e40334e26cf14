"""``veneer adapters``: its help, its tables, and what it asks on a terminal."""

import os
import pty
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from support.adapters_stub import AdaptersStub
from support.typed import call
from veneer_server.commands import adapters as adapters_cli

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
