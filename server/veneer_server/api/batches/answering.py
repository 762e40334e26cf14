"""Answers the lines of batches as the routes answer that they name."""

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import structlog

from veneer_adapters.errors import AdapterError
from veneer_server.api.errors import (
    ApiFault,
    report,
    to_api_error,
    to_body,
    to_reason,
)
from veneer_server.api.generation import PATHS
from veneer_server.api.official.answers.conversions import to_document
from veneer_server.api.official.bodies import in_the_clients_words, prepare
from veneer_server.api.parsing import parse_object
from veneer_server.batches.answering import Answered
from veneer_server.batches.records import LineFault
from veneer_server.conversations.turns import Turns
from veneer_server.engine.base import Endpoint, EngineError
from veneer_server.serving.requests import Document, RequestService
from veneer_server.serving.resolving import Asker
from veneer_server.tenancy.principals import Principal

logger = structlog.get_logger(__name__)

_ENDPOINTS = PATHS | {"/v1/responses": Endpoint.RESPONSES}
_TRANSIENT = (429, 503)


class LineAnswers:
    """Looks at bodies and answers them; see ``batches.answering.Answers``."""

    def __init__(self, requests: RequestService, turns: Turns) -> None:
        self._requests = requests
        self._turns = turns

    def parse(self, raw: bytes) -> Mapping[str, Any]:
        """Return the object that a line is; raises ValueError."""
        try:
            return parse_object(raw)
        except ApiFault as error:
            raise ValueError(str(error)) from error

    def fault(self, endpoint: str, body: Mapping[str, Any], who: Principal) -> LineFault | None:
        """Return what is wrong with a body, as far as that is known before it is answered."""
        try:
            prepare(_ENDPOINTS[endpoint], body)
            self._requests.require_known(body, who)
        except (ApiFault, AdapterError, EngineError) as error:
            told = to_api_error(error)
            return LineFault(to_reason(told), told.message, param=told.param)
        return None

    async def answer(self, endpoint: str, body: Mapping[str, Any], who: Principal) -> Answered:
        """Answer a body in the background of all live requests; an error is an answer too."""
        request_id = f"req_{uuid4().hex}"
        try:
            found = await self._respond(_ENDPOINTS[endpoint], dict(body), who, request_id)
        except Exception as error:
            told = to_api_error(error)
            noted: dict[str, Any] = {}
            report(error, told, noted)
            logger.info("line of a batch failed", request_id=request_id, **noted)
            again = told.retry_after_s if told.status in _TRANSIENT else None
            return Answered(told.status, request_id, to_body(told), told.code, again)
        return Answered(200, request_id, found)

    async def _respond(
        self, endpoint: Endpoint, body: dict[str, Any], who: Principal, request_id: str
    ) -> dict[str, Any]:
        user = body.get("user") or body.get("safety_identifier")
        asker = Asker(user if isinstance(user, str) else None, who, background=True)
        ids = {"request_id": request_id}
        if endpoint is Endpoint.RESPONSES:
            return await self._respond_with_state(body, asker, ids)
        asked = prepare(endpoint, body)
        with in_the_clients_words(endpoint, body):
            found = await self._requests.respond(endpoint, asked, ids, asker)
        assert isinstance(found, Document)  # noqa: S101 - no line has ``stream``
        return to_document(endpoint, found.body, found.served.asked, body)

    async def _respond_with_state(
        self, body: dict[str, Any], asker: Asker, ids: dict[str, str]
    ) -> dict[str, Any]:
        endpoint = Endpoint.RESPONSES
        turn = await self._turns.begin(asker.principal.owner, body)
        plain = {**prepare(endpoint, turn.body(body)), "store": False, "request_id": turn.id}
        asked = {**body, **turn.shown()}
        with in_the_clients_words(endpoint, body):
            found = await self._requests.respond(endpoint, plain, ids, asker)
        assert isinstance(found, Document)  # noqa: S101 - no line has ``stream``
        document = to_document(endpoint, found.body, found.served.asked, asked)
        return await self._turns.finish(turn, document)
