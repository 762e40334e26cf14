"""Suites that others wrote, run as their users run them; what they say, in one form.

They bound no answer, and wait half a minute for each: so they ask an adapter with short answers.
"""

import json
import subprocess
from collections.abc import Callable
from typing import Any

from clients import environments
from clients.running import World

LONGEST_S = 280
ANSWER_S = 30
Verdicts = dict[str, str]
"""From a check's id to ``passed``, or to what was wrong."""


def compatcanary(world: World) -> Verdicts:
    """Run compatcanary's profile for current clients; a warning is no pass."""
    program = environments.folder("node") / "node_modules" / "compatcanary" / "src" / "cli.js"
    where = ["scan", "--base-url", f"{world.url}/v1", "--model", world.tools, "--api-key", "none"]
    quiet = ["--format", "json", "--fail-on", "never"]
    found = _last_json([str(environments.node()), str(program), *where, *quiet])
    return {
        probe["id"]: "passed" if probe["status"] == "pass" else json.dumps(probe)
        for probe in found["results"]
    }


def llm_comply(form: str) -> Callable[[World], Verdicts]:
    """Return what runs llm-comply's suite for one form of API; a warning is no pass, nor a skip."""

    def run(world: World) -> Verdicts:
        program = environments.folder("current") / "bin" / "llm-comply"
        where = ["--base-url", f"{world.url}/v1", "--api-key", "none", "--model", world.tools]
        waiting = ["--timeout", str(ANSWER_S)]
        found = _last_json([str(program), *where, "--format", form, "--json", *waiting])
        return {
            one["id"]: "passed"
            if one["status"] == "passed" and not one.get("warnings")
            else json.dumps(one)
            for one in found["results"]
        }

    return run


def _last_json(command: list[str]) -> dict[str, Any]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_S, check=False)
    assert "{" in done.stdout, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout[done.stdout.index("{") :])
    return found


SUITES: dict[str, Callable[[World], Verdicts]] = {
    "compatcanary": compatcanary,
    "llm-comply openai-chat": llm_comply("openai-chat"),
    "llm-comply open-responses": llm_comply("open-responses"),
    "llm-comply anthropic": llm_comply("anthropic"),
}
