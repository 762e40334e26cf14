"""The same as an action of a page, for a terminal: as curl, and as a veneer command. Pure."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Equal:
    """Lines that do what an action does."""

    curl: str
    command: str | None = None
    """None where no command does it."""


@dataclass(frozen=True, slots=True)
class Terminal:
    """Writes lines for one server."""

    url: str
    """Without ``/v1``."""
    with_key: bool

    def curl(self, method: str, path: str, body: Any = None) -> str:
        """Return the line that sends ``body`` as JSON, when there is one."""
        if body is None:
            return self._line(method, path)
        sent = shlex.quote(json.dumps(body))
        return f"{self._line(method, path)} -H 'Content-Type: application/json' -d {sent}"

    def upload(self, path: str, form: Mapping[str, str]) -> str:
        """Return the line that sends ``form``; a value that begins with @ is a file."""
        fields = " ".join(f"-F {shlex.quote(f'{name}={value}')}" for name, value in form.items())
        return f"{self._line('POST', path)} {fields}"

    def download(self, path: str, to: str) -> str:
        """Return the line that writes what is at ``path`` to a file."""
        return f"{self._line('GET', path)} -o {shlex.quote(to)}"

    def _line(self, method: str, path: str) -> str:
        key = ' -H "Authorization: Bearer $OPENAI_API_KEY"' if self.with_key else ""
        return f"curl -X {method} {shlex.quote(self.url + path)}{key}"
