"""``veneer adapters`` as a user types it, in this process."""

import json
from typing import Any

from typer.testing import CliRunner

from veneer_server.commands.main import app


def call(*arguments: str, environ: dict[str, str] | None = None) -> Any:
    """Return the exit code and both outputs of a command."""
    quiet = {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "200"}
    return CliRunner().invoke(app, ["adapters", *arguments], env={**quiet, **(environ or {})})


def done(server: str, *arguments: str) -> str:
    """Return what a command printed that must succeed."""
    ended = call(*arguments, "--url", server)
    assert ended.exit_code == 0, ended.output
    return ended.stdout


def parsed(server: str, *arguments: str) -> Any:
    """Return the document a command printed that must succeed."""
    return json.loads(done(server, *arguments, "--json"))


def failed(server: str, *arguments: str, code: int = 1) -> str:
    """Return what a command said that must fail, without a trace and with an empty output."""
    ended = call(*arguments, "--url", server)
    assert ended.exit_code == code, ended.output
    assert ended.stdout == ""
    assert "Traceback" not in ended.stderr
    return ended.stderr
