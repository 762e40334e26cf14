"""The same as a move of an alias, for a terminal. Pure."""

import shlex
from typing import Any
from urllib.parse import quote

from veneer_adapters.catalog.alias import Alias, Target
from veneer_adapters.publishing.publishing import Wanted
from veneer_server.console.terminal import Equal, Terminal


def moving(terminal: Terminal, name: str, alias: str, wanted: Wanted) -> Equal:
    """Return the lines that move ``alias`` as ``wanted`` says, if nobody moved it meanwhile."""
    path = f"/v1/adapters/{quote(name, safe='')}/aliases/{quote(alias, safe='')}"
    version = f"""-H 'If-Match: "{wanted.expected}"'"""
    curl = f"{terminal.curl('PUT', path, _body(wanted))} {version}"
    options = [f"--if-version {wanted.expected}", *_options(wanted)]
    at = shlex.quote(f"{name}@{alias}")
    return Equal(curl, f"veneer adapters alias {at} {' '.join(options)}")


def moves_of(terminal: Terminal, name: str, alias: Alias) -> dict[str, Equal]:
    """Return the lines of each move of a rollout with two sides: as it is, and to either side."""
    baseline, canary = alias.targets
    asked = {
        "share": Wanted(alias.targets, alias.sticky, alias.guard, alias.version),
        "promote": Wanted((Target(canary.revision),), expected=alias.version),
        "return": Wanted((Target(baseline.revision),), expected=alias.version),
    }
    return {move: moving(terminal, name, alias.name, wanted) for move, wanted in asked.items()}


def _body(wanted: Wanted) -> dict[str, Any]:
    if len(wanted.targets) == 1:
        return {"revision": wanted.targets[0].revision}
    body: dict[str, Any] = {
        "targets": [{"revision": t.revision, "weight": t.weight} for t in wanted.targets]
    }
    if wanted.sticky:
        body["sticky"] = wanted.sticky
    if wanted.guard:
        guard = wanted.guard
        body["guard"] = {"min_requests": guard.min_requests, "margin": guard.margin}
    return body


def _options(wanted: Wanted) -> list[str]:
    if len(wanted.targets) == 1:
        return [str(wanted.targets[0].revision)]
    found = ["--split " + ",".join(f"{t.revision}={t.weight}" for t in wanted.targets)]
    if wanted.sticky:
        found.append(f"--sticky {wanted.sticky}")
    if wanted.guard:
        found.append(f"--guard-requests {wanted.guard.min_requests}")
        found.append(f"--guard-margin {wanted.guard.margin:g}")
    return found
