"""What a batch needs of the part that answers requests: the seam between the two."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from veneer_server.batches.records import LineFault
from veneer_server.tenancy.principals import Principal

ENDPOINTS = ("/v1/chat/completions", "/v1/completions", "/v1/responses")
"""The paths that a batch may ask."""


@dataclass(frozen=True, slots=True)
class Answered:
    """How one line was answered."""

    status: int
    """As an HTTP answer would have it."""
    request_id: str
    body: dict[str, Any]
    code: str | None = None
    """The code of the error, None without one."""
    retry_after_s: float | None = None
    """When to try again, for an error of the moment; None when that cannot help."""


class Answers(Protocol):
    """Looks at bodies and answers them, as the routes do that a batch names."""

    def parse(self, raw: bytes) -> Mapping[str, Any]:
        """Return the object that a line is; raises ValueError."""

    def fault(self, endpoint: str, body: Mapping[str, Any], who: Principal) -> LineFault | None:
        """Return what is wrong with a body, as far as that is known before it is answered."""

    async def answer(self, endpoint: str, body: Mapping[str, Any], who: Principal) -> Answered:
        """Answer a body in the background of all live requests; an error is an answer too."""
