"""The same as an action on an adapter, for a terminal. Pure."""

import shlex
from typing import Any
from urllib.parse import quote

from veneer_adapters.artifact.files import FILES
from veneer_server.console import terminal
from veneer_server.console.terminal import Equal


class Terminal(terminal.Terminal):
    """Writes the lines of adapters."""

    __slots__ = ()

    def adding(self) -> Equal:
        """Return the lines that add a new adapter."""
        body = {"name": "NAME", "source": "SOURCE"}
        return Equal(self.curl("POST", "/v1/adapters", body), "veneer adapters add NAME SOURCE")

    def checking(self, source: str) -> Equal:
        """Return the lines that ask the doctor about a source."""
        curl = self.curl("POST", "/v1/adapters/check", {"source": source})
        return Equal(curl, f"veneer adapters check {shlex.quote(source)}")

    def uploading(self, name: str = "NAME") -> Equal:
        """Return the lines that send the two files in the folder FOLDER."""
        files = " ".join(f"-F file=@FOLDER/{file}" for file in FILES)
        path = f"{_path(name)}/upload"
        command = f"veneer adapters upload {shlex.quote(name)} FOLDER"
        return Equal(f"{self.curl('POST', path)} {files}", command)

    def rolling_back(self, name: str, alias: str) -> Equal:
        """Return the lines that point an alias to what it pointed to before."""
        path = f"{_path(name)}/aliases/{quote(alias, safe='')}/rollback"
        return Equal(
            self.curl("POST", path), f"veneer adapters rollback {shlex.quote(f'{name}@{alias}')}"
        )

    def of(self, name: str) -> dict[str, Equal]:
        """Return the lines of each action on the adapter ``name``, by the action's name."""
        path, shown = _path(name), shlex.quote(name)

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
            "upload": self.uploading(name),
            "remove": lines("DELETE", path, f"rm {shown}"),
        }


def _path(name: str) -> str:
    return f"/v1/adapters/{quote(name, safe='')}"
