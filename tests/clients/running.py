"""Runs a client's program and reads what it tells."""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from clients import environments
from clients.table import CLIENTS, Client

PROGRAMS = Path(__file__).parent / "programs"
LONGEST_S = 500
"""Of one program; each feature has a bound of its own."""


@dataclass
class Told:
    """What one program said."""

    package: str = ""
    version: str = ""
    outcomes: dict[str, tuple[str, str]] = field(default_factory=dict)
    """From feature to outcome and detail."""
    errors: str = ""


@dataclass(frozen=True)
class World:
    """What the programs are pointed at."""

    url: str
    faults: str
    base: str
    adapter: str
    tools: str


@cache
def run(name: str, world: World, features: tuple[str, ...]) -> Told:
    """Run the client once with these features; a second call returns the same."""
    client = CLIENTS[name]
    asked = {**vars(world), "client": name, "features": features, **client.more}
    done = subprocess.run(
        [*_command(client), json.dumps({**asked, "modules": str(environments.folder("node"))})],
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
        check=False,
    )
    return _read(done.stdout.splitlines(), done.stderr[-4000:])


def _command(client: Client) -> list[str]:
    program = str(PROGRAMS / client.program)
    if client.environment == "node":
        return [str(environments.node()), program]
    return [str(environments.python(client.environment)), program]


def _read(lines: Sequence[str], errors: str) -> Told:
    told = Told(errors=errors)
    for line in lines:
        if not line.startswith("{"):
            continue  # some libraries print advice
        found: dict[str, Any] = json.loads(line)
        if "feature" in found:
            told.outcomes[found["feature"]] = found["outcome"], found["detail"]
        else:
            told.package, told.version = found["package"], found["version"]
    return told
