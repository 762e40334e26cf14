"""Whether a file can be a batch: every line is looked at before any is answered. Pure.

Source: https://platform.openai.com/docs/guides/batch
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from veneer_server.batches.records import LineFault

MOST_FAULTS = 100
"""More are not told."""
LONGEST_ID = 512

Parse = Callable[[bytes], Mapping[str, Any]]
"""Returns the object that a line is; raises ValueError, whose text says why it is none."""
Check = Callable[[Mapping[str, Any]], LineFault | None]
"""Returns what is wrong with the body of a line."""


@dataclass(frozen=True, slots=True)
class Line:
    """Where a line is in its file, and which model it asks."""

    offset: int
    size_bytes: int
    custom_id: str
    model: str
    """As the client wrote it; empty when it names none."""


class Validation:
    """Takes the lines of a file one by one, and notes those that are well formed and the faults."""

    def __init__(self, endpoint: str, parse: Parse, check: Check, *, max_lines: int) -> None:
        """Look for requests to ``endpoint``, a path; ``check`` looks at their bodies."""
        self._endpoint = endpoint
        self._parse = parse
        self._check = check
        self._max_lines = max_lines
        self._ids: set[str] = set()
        self._number = self._offset = 0
        self.lines: list[Line] = []
        self.faults: list[LineFault] = []
        self.is_over = False
        """Whether no further line needs to be looked at."""

    def take(self, raw: bytes) -> None:
        """Look at the next line, with its newline."""
        self._number += 1
        offset, self._offset = self._offset, self._offset + len(raw)
        if not raw.strip():
            return
        if len(self.lines) >= self._max_lines:
            self._number -= 1
            self.refuse("too_many_tasks", f"The file has more than {self._max_lines} requests.")
            return
        found = self._line(raw, offset)
        if found is not None:
            self._ids.add(found.custom_id)
            self.lines.append(found)

    def refuse(self, code: str, message: str) -> None:
        """Note a fault of the next line, and look at no further one."""
        self._number += 1
        self._note(code, message)
        self.is_over = True

    def end(self) -> tuple[LineFault, ...]:
        """Return the faults, when every line was taken; an empty file is one."""
        if not self.lines and not self.faults:
            return (LineFault("empty_file", "The file has no requests."),)
        return tuple(self.faults)

    def model(self) -> str | None:
        """Return the model that every line names, None when they differ or name none."""
        models = {line.model for line in self.lines}
        return (models.pop() or None) if len(models) == 1 else None

    def _line(self, raw: bytes, offset: int) -> Line | None:
        try:
            asked = self._parse(raw)
        except ValueError as error:
            self._note("invalid_json_line", f"This line is not a JSON object: {error}")
            return None
        fault = self._head_fault(asked) or self._body_fault(asked["body"])
        if fault is not None:
            self._note(*fault)
            return None
        model = asked["body"].get("model")
        known = model if isinstance(model, str) else ""
        return Line(offset, len(raw), asked["custom_id"], known)

    def _body_fault(self, body: Mapping[str, Any]) -> tuple[str, str, str] | None:
        wrong = self._check(body)
        if wrong is None:
            return None
        param = "body" if wrong.param is None else f"body.{wrong.param}"
        return wrong.code, wrong.message, param

    def _head_fault(self, asked: Mapping[str, Any]) -> tuple[str, str, str] | None:
        for name, kind in (("custom_id", str), ("method", str), ("url", str), ("body", dict)):
            if name not in asked:
                said = f"Missing required parameter: '{name}'."
                return "missing_required_parameter", said, name
            if not isinstance(asked[name], kind):
                shown = "an object" if kind is dict else "a string"
                return "invalid_type", f"Invalid type for '{name}': expected {shown}.", name
        unknown = sorted(asked.keys() - {"custom_id", "method", "url", "body"})
        if unknown:
            return (
                "unknown_parameter",
                f"Unknown parameter: '{unknown[0][:100]}'.",
                unknown[0][:100],
            )
        return self._value_fault(asked)

    def _value_fault(self, asked: Mapping[str, Any]) -> tuple[str, str, str] | None:
        custom_id, body = asked["custom_id"], asked["body"]
        if not 1 <= len(custom_id) <= LONGEST_ID:
            said = f"A custom_id has 1 to {LONGEST_ID} characters."
            return "invalid_custom_id", said, "custom_id"
        if custom_id in self._ids:
            said = f"The custom_id '{custom_id[:100]}' stands in the file twice."
            return "duplicate_custom_id", said, "custom_id"
        if asked["method"] != "POST":
            return "invalid_method", "The method must be POST.", "method"
        if asked["url"] != self._endpoint:
            said = f"The url must be that of the batch, {self._endpoint}."
            return "mismatched_url", said, "url"
        for name in ("stream", "background"):
            if body.get(name):
                return f"{name}_not_supported", f"A batch has no '{name}'.", f"body.{name}"
        return None

    def _note(self, code: str, message: str, param: str | None = None) -> None:
        self.faults.append(LineFault(code, message, self._number, param))
        self.is_over = len(self.faults) >= MOST_FAULTS
