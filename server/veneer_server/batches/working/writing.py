"""The answers of one batch on their way to disk: many at a time, each of them once.

Rule: an answer is in the file, flushed, before the row counts it. So after a crash a line whose
answer was not counted is answered again, and its first answer is cut off.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from veneer_adapters.threads import to_its_end
from veneer_server.batches.answering import Answered
from veneer_server.batches.batches import Batches
from veneer_server.batches.folders import ERRORS, OUTPUT, Results
from veneer_server.batches.records import Progress, new_line_id

MOST_WAITING = 256
"""Answers that wait to be written; while there are so many, no further line begins."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    name: str
    line: bytes
    counts: Progress


class Writer:
    """Writes the answers of one batch, and counts what is written."""

    def __init__(
        self, batches: Batches, batch_id: str, results: Results, progress: Progress
    ) -> None:
        """Go on after ``progress`` in the files of ``results``."""
        self._batches = batches
        self._batch_id = batch_id
        self._results = results
        self._waiting: list[_Waiting] = []
        self._turn = asyncio.Lock()
        self.progress = progress

    @property
    def is_full(self) -> bool:
        """Whether the next line should wait until something is written."""
        return len(self._waiting) >= MOST_WAITING

    @property
    def is_waiting(self) -> bool:
        """Whether something waits to be written."""
        return bool(self._waiting)

    def answered(self, custom_id: str, answered: Answered) -> None:
        """Take an answer; an error goes to the file of errors."""
        body = {"status_code": answered.status, "request_id": answered.request_id}
        line = _line(custom_id, {**body, "body": answered.body}, None)
        if answered.status == 200:
            self._waiting.append(_Waiting(OUTPUT, line, counts_of(answered.body)))
        else:
            self._waiting.append(_Waiting(ERRORS, line, Progress(failed=1)))

    def unanswered(self, custom_id: str, code: str, message: str) -> None:
        """Take the reason why a line was never asked."""
        line = _line(custom_id, None, {"code": code, "message": message})
        self._waiting.append(_Waiting(ERRORS, line, Progress()))

    async def flush(self) -> None:
        """Return when everything that was taken would survive a power loss, and is counted.

        A cancelled caller waits for that too: a thread that writes cannot be stopped, and what it
        has written must not be taken for waiting.

        Raises:
            BatchesUnavailable: it is not; what waits goes on waiting.
        """
        await to_its_end(self._flush())

    async def _flush(self) -> None:
        async with self._turn:
            for name in (OUTPUT, ERRORS):
                taken = [one for one in self._waiting if one.name == name]
                lines = [one.line for one in taken]
                size_bytes = await asyncio.to_thread(self._results.append, name, lines)
                written = set(map(id, taken))
                self._waiting = [one for one in self._waiting if id(one) not in written]
                self.progress = _counted(self.progress, taken, name, size_bytes)
            await self._batches.note(self._batch_id, self.progress)


def _line(
    custom_id: str, response: Mapping[str, Any] | None, error: Mapping[str, str] | None
) -> bytes:
    document = {
        "id": new_line_id(),
        "custom_id": custom_id,
        "response": response,
        "error": error,
    }
    return orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)


_SUMMED = (
    "completed",
    "failed",
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "reasoning_tokens",
)


def _counted(progress: Progress, taken: list[_Waiting], name: str, size_bytes: int) -> Progress:
    sums = {
        field: getattr(progress, field) + sum(getattr(one.counts, field) for one in taken)
        for field in _SUMMED
    }
    size = {"output_bytes" if name == OUTPUT else "error_bytes": size_bytes}
    return replace(progress, **sums, **size)


def counts_of(body: Mapping[str, Any]) -> Progress:
    """Return what one answer counts: itself and the tokens of its usage."""
    usage = body.get("usage") or {}
    read = usage.get("input_tokens_details") or usage.get("prompt_tokens_details") or {}
    written = usage.get("output_tokens_details") or usage.get("completion_tokens_details") or {}
    return Progress(
        completed=1,
        input_tokens=usage.get("prompt_tokens") or usage.get("input_tokens") or 0,
        output_tokens=usage.get("completion_tokens") or usage.get("output_tokens") or 0,
        cached_tokens=read.get("cached_tokens") or 0,
        reasoning_tokens=written.get("reasoning_tokens") or 0,
    )
