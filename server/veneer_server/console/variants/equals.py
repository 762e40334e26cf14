"""The same as an action on an adapter, for a terminal. Pure."""

import shlex
from typing import Any
from urllib.parse import quote

from veneer_server.console import terminal
from veneer_server.console.terminal import Equal


class Terminal(terminal.Terminal):
    """Writes the lines of adapters."""

    __slots__ = ()

    def adding(self) -> Equal:
        """Return the lines that add a new adapter."""
        body = {"name": "NAME", "source": "SOURCE"}
        return Equal(self.curl("POST", "/v1/adapters", body), "veneer adapters add NAME SOURCE")

    def of(self, name: str) -> dict[str, Equal]:
        """Return the lines of each action on the adapter ``name``, by the action's name."""
        path, shown = f"/v1/adapters/{quote(name, safe='')}", shlex.quote(name)
        live = f"{path}/aliases/live"

        def lines(method: str, at: str, command: str, body: Any = None) -> Equal:
            return Equal(self.curl(method, at, body), f"veneer adapters {command}")

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
