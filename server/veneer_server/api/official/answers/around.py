"""What is around the text of an event, before and after a conversion that leaves the text alone.

In a stream of nothing but text the events differ only in the text. So two comparisons tell that an
event is like one that was converted before. Pure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import orjson


@dataclass(frozen=True, slots=True)
class Around:
    """The bytes before and after the text, as the engine writes them and as the client gets them.

    The text itself is between them with its quotation marks.
    """

    head: bytes
    tail: bytes
    new_head: bytes
    new_tail: bytes

    @classmethod
    def of(cls, raw: bytes, converted: bytes, choices: Sequence[Mapping[str, Any]]) -> Self | None:
        """Return what is around the text of the only choice; None if there is more than a text."""
        member = _only_text(choices)
        if member is None or raw.count(member) != 1 or converted.count(member) != 1:
            return None
        before, _, after = raw.partition(member)
        new_before, _, new_after = converted.partition(member)
        name = member[: member.index(b":") + 1]
        return cls(before + name, after, new_before + name, new_after)

    def converted(self, raw: bytes) -> bytes | None:
        """Return the converted ``raw``, or None if it may differ in more than the text."""
        if not (raw.startswith(self.head) and raw.endswith(self.tail)):
            return None
        text = raw[len(self.head) : -len(self.tail)]
        # A quotation mark inside may end the text, so that another member could follow.
        if len(text) < 2 or b'"' in text[1:-1]:
            return None
        return self.new_head + text + self.new_tail


def _only_text(choices: Sequence[Mapping[str, Any]]) -> bytes | None:
    """Return the member that has the text, as JSON."""
    if len(choices) != 1 or choices[0].get("logprobs") or choices[0].get("finish_reason"):
        return None
    delta = choices[0].get("delta")
    if delta is None and choices[0].get("text"):
        return b'"text":' + orjson.dumps(choices[0]["text"])
    if delta and delta.keys() == {"content"} and delta["content"]:
        return b'"content":' + orjson.dumps(delta["content"])
    return None
