"""Suites that others wrote, run as their users run them; what they say, in one form."""

import json
import subprocess
from collections.abc import Callable
from typing import Any

from clients import environments

LONGEST_S = 280
Verdicts = dict[str, str]
"""From a check's id to ``passed``, or to what was wrong."""


def compatcanary(url: str, model: str) -> Verdicts:
    """Run compatcanary's profile for current clients; a warning is no pass."""
    program = environments.folder("node") / "node_modules" / "compatcanary" / "src" / "cli.js"
    where = ["scan", "--base-url", f"{url}/v1", "--model", model, "--api-key", "none"]
    quiet = ["--format", "json", "--fail-on", "never"]
    found = _last_json([str(environments.node()), str(program), *where, *quiet])
    return {
        probe["id"]: "passed" if probe["status"] == "pass" else json.dumps(probe)
        for probe in found["results"]
    }


def _last_json(command: list[str]) -> dict[str, Any]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_S, check=False)
    assert "{" in done.stdout, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout[done.stdout.index("{") :])
    return found


SUITES: dict[str, Callable[[str, str], Verdicts]] = {
    "compatcanary": compatcanary,
}
