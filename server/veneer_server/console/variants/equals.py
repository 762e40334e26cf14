"""The same as an action of a page, for a terminal: as curl, and as a veneer command. Pure."""

import json
import shlex
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote


@dataclass(frozen=True, slots=True)
class Equal:
    """Two lines that do what an action does."""

    curl: str
    command: str


@dataclass(frozen=True, slots=True)
class Terminal:
    """Writes lines for one server."""

    url: str
    """Without ``/v1``."""
    with_key: bool

    def adding(self) -> Equal:
        """Return the lines that add a new adapter."""
        body = {"name": "NAME", "source": "SOURCE"}
        return Equal(self._curl("POST", "/v1/adapters", body), "veneer adapters add NAME SOURCE")

    def of(self, name: str) -> dict[str, Equal]:
        """Return the lines of each action on the adapter ``name``, by the action's name."""
        path, shown = f"/v1/adapters/{quote(name, safe='')}", shlex.quote(name)
        live = f"{path}/aliases/live"

        def lines(method: str, at: str, command: str, body: Any = None) -> Equal:
            return Equal(self._curl(method, at, body), f"veneer adapters {command}")

        return {
            "load": lines("POST", f"{path}/load", f"load {shown}"),
            "unload": lines("POST", f"{path}/unload", f"unload {shown}"),
            "pin": lines("PATCH", path, f"pin {shown}", {"pinned": True}),
            "unpin": lines("PATCH", path, f"unpin {shown}", {"pinned": False}),
            "publish": lines(
                "POST", f"{path}/revisions", f"publish {shown} SOURCE", {"source": "SOURCE"}
            ),
            "rollback": lines("POST", f"{live}/rollback", f"rollback {shown}"),
            "remove": lines("DELETE", path, f"rm {shown}"),
        }

    def _curl(self, method: str, path: str, body: Any = None) -> str:
        parts = ["curl", "-X", method, shlex.quote(self.url + path)]
        if self.with_key:
            parts.append('-H "Authorization: Bearer $OPENAI_API_KEY"')
        if body is not None:
            parts += ["-H 'Content-Type: application/json'", "-d", shlex.quote(json.dumps(body))]
        return " ".join(parts)
