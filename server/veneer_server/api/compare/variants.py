"""The answers of several models as server-sent events, and as one report.

The events are ours: OpenAI has no such request. What is in them is in OpenAI's shape.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from veneer_server.api.errors import report, to_api_error, to_body
from veneer_server.api.official.answers.conversions import to_document, to_events
from veneer_server.engine.base import Endpoint
from veneer_server.serving.comparing import Began, Comparison, Ended, Failed, Part, Report, Whole
from veneer_server.serving.requests import Served


@dataclass(slots=True)
class _Result:
    """What the report says of one answer."""

    variant: int
    model: str
    adapter: str | None = None
    completion: dict[str, Any] | None = None
    finish_reason: str | None = None
    usage: dict[str, Any] | None = None
    timing: dict[str, int | None] | None = None
    error: dict[str, Any] | None = None


class Variants:
    """A comparison as events: each has a name, and says to which variant it belongs.

    The caller must close it.
    """

    def __init__(
        self,
        comparison: Comparison,
        bodies: Sequence[Mapping[str, Any]],
        name_error: Callable[[Exception], None],
    ) -> None:
        """Tell of ``comparison``; ``name_error`` puts an error in the client's words."""
        self._comparison = comparison
        self._name_error = name_error
        self._served: dict[int, Served] = {}
        self._results = [_Result(place, body["model"]) for place, body in enumerate(bodies)]
        self._convert = [
            to_events(Endpoint.CHAT, model=body["model"], asked=body) for body in bodies
        ]

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for place, told in self._comparison:
            if (event := self._note(self._results[place], told)) is not None:
                yield to_event(*event)
        yield to_event("compare.completed", self.report())

    async def read(self) -> None:
        """Note everything until all answers have ended."""
        async for place, told in self._comparison:
            self._note(self._results[place], told)

    async def aclose(self) -> None:
        """Stop every generation that still runs."""
        await self._comparison.aclose()

    def report(self) -> dict[str, Any]:
        """Return what is known of every variant, in the order in which they were named."""
        return {"object": "compare.report", "variants": [asdict(each) for each in self._results]}

    def _note(self, result: _Result, told: Report) -> tuple[str, dict[str, Any]] | None:
        head = {"variant": result.variant}
        if isinstance(told, Began):
            self._served[result.variant] = told.served
            revision = told.served.revision
            result.adapter = revision.label if revision else None
            return "variant.started", {**head, "model": result.model, "adapter": result.adapter}
        if isinstance(told, Part):
            chunk = self._chunk(result, told.frame)
            return None if chunk is None else ("variant.chunk", {**head, "chunk": chunk})
        if isinstance(told, Whole):
            self._whole(result, told.body)
            return None
        result.timing = self._timing(result.variant, told)
        if isinstance(told, Ended):
            return "variant.completed", asdict(result)
        self._name_error(told.error)
        api_error = to_api_error(told.error)
        report(told.error, api_error, {})
        result.error = to_body(api_error)["error"]
        return "variant.failed", asdict(result)

    def _chunk(self, result: _Result, frame: bytes) -> dict[str, Any] | None:
        if not frame.startswith(b"data: {"):
            return None
        chunk: dict[str, Any] = orjson.loads(self._convert[result.variant](frame)[6:])
        result.usage = chunk.get("usage") or result.usage
        for choice in chunk["choices"]:
            result.finish_reason = choice.get("finish_reason") or result.finish_reason
        return chunk

    def _whole(self, result: _Result, body: dict[str, Any]) -> None:
        result.completion = to_document(Endpoint.CHAT, body, result.model)
        result.usage = result.completion.get("usage")
        result.finish_reason = result.completion["choices"][0]["finish_reason"]

    def _timing(self, place: int, told: Ended | Failed) -> dict[str, int | None]:
        served = self._served.get(place)
        ttft_s = served.seen.ttft_s if served else None
        cold_s = served.cold_start_s if served else None
        return {
            "ttft_ms": _to_ms(ttft_s),
            "duration_ms": _to_ms(told.duration_s),
            "cold_start_ms": _to_ms(cold_s),
        }


def _to_ms(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)


def to_event(name: str, body: Mapping[str, Any]) -> bytes:
    """Return a server-sent event called ``name``, which is also the ``type`` in its body."""
    return b"event: " + name.encode() + b"\ndata: " + orjson.dumps({"type": name, **body}) + b"\n\n"
