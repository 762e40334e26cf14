"""What the trainer says while it runs: one JSON object a line, in OpenAI's words.

A reader remembers how many bytes it has read, and reads on from there. After a kill a run goes on
from its newest checkpoint, so figures of the steps after that come a second time; they are the
same.
"""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

Level = Literal["info", "warn", "error"]


class EventLog:
    """Appends events; what a killed process left of a line is cut off at the start."""

    def __init__(self, path: Path) -> None:
        """Open the file at ``path``, which may have events of an earlier run."""
        _cut_unfinished(path)
        self._path = path

    def say(self, message: str, *, level: Level = "info") -> None:
        """Append a message for people."""
        self._append("message", message, level, {})

    def measure(self, message: str, figures: Mapping[str, float | int]) -> None:
        """Append the figures of a step."""
        self._append("metrics", message, "info", figures)

    def _append(
        self, kind: str, message: str, level: Level, figures: Mapping[str, float | int]
    ) -> None:
        event = {
            "created_at": int(time.time()),
            "level": level,
            "type": kind,
            "message": message,
            "data": figures,
        }
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(event) + "\n")


def read_events(path: Path, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
    """Return the complete events from ``offset`` on, and the offset to read on from."""
    if not path.exists():
        return [], offset
    with path.open("rb") as file:
        file.seek(offset)
        found = file.read()
    whole = found[: found.rfind(b"\n") + 1]
    return [json.loads(line) for line in whole.splitlines()], offset + len(whole)


def _cut_unfinished(path: Path) -> None:
    if not path.exists():
        return
    _, end = read_events(path)
    with path.open("r+b") as file:
        file.truncate(end)
