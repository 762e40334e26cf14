"""Asks models of this server in the background of all live requests, as the batches do."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Protocol
from uuid import uuid4

import structlog

from veneer_adapters.errors import AdapterError, AdapterUnavailable
from veneer_server.engine.base import Endpoint, Engine, EngineDown, EngineError
from veneer_server.serving.admission import Overloaded
from veneer_server.serving.cold_starts import AdapterCold
from veneer_server.serving.requests import Document, RequestService
from veneer_server.serving.resolving import Asker
from veneer_server.tenancy.errors import TenancyError
from veneer_server.tenancy.principals import Principal

logger = structlog.get_logger(__name__)

AGAIN_S = 5.0
"""The pause before a model is asked again that could not answer, in seconds."""
MOST_TRIES = 60
_NOT_NOW = (EngineDown, Overloaded, AdapterCold, AdapterUnavailable, TenancyError)


class NotMeasured(Exception):
    """A model of this server cannot be asked; the message says why."""


class Models(Protocol):
    """The models of this server, as a tenant may ask them."""

    @property
    def most_tokens(self) -> int:
        """Return the most tokens of a prompt and its answer together."""

    @property
    def stops(self) -> Sequence[int]:
        """Return the tokens that end an answer."""

    async def complete(
        self, tenant: str | None, model: str, body: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Return the first choice of a completion.

        Raises:
            NotMeasured: the model cannot answer, now and for some minutes.
        """

    async def text(self, tenant: str | None, model: str, tokens: Sequence[int]) -> str:
        """Return what ``tokens`` mean; raises as ``complete``."""


class ServedModels:
    """See ``Models``: every request is resolved, leased and counted as any other."""

    def __init__(self, requests: RequestService, engine: Engine) -> None:
        self._requests = requests
        self._engine = engine

    @property
    def most_tokens(self) -> int:
        """The context of the base model."""
        return self._engine.model.max_model_len

    @property
    def stops(self) -> Sequence[int]:
        """What the engine that runs now stops at."""
        return self._engine.rows.stops

    async def complete(
        self, tenant: str | None, model: str, body: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Ask for one completion; wait for the engine, a slot or a limit, for some minutes."""
        found = await self._ask(Endpoint.COMPLETIONS, tenant, {**body, "model": model})
        choice: Mapping[str, Any] = found["choices"][0]
        return choice

    async def text(self, tenant: str | None, model: str, tokens: Sequence[int]) -> str:
        """Return the text with all special tokens in it."""
        asked = {"model": model, "tokens": list(tokens)}
        return str((await self._ask(Endpoint.DETOKENIZE, tenant, asked))["prompt"])

    async def _ask(
        self, endpoint: Endpoint, tenant: str | None, body: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        asker = Asker(principal=Principal(tenant=tenant), background=True)
        for _ in range(MOST_TRIES):
            ids = {"request_id": f"req_{uuid4().hex}"}
            try:
                found = await self._requests.respond(endpoint, body, ids, asker)
            except _NOT_NOW as error:
                told = str(error)
                logger.info("model not measured yet", model=body["model"], why=told)
                await asyncio.sleep(AGAIN_S)
            except (AdapterError, EngineError) as error:
                raise NotMeasured(str(error)) from error
            else:
                assert isinstance(found, Document)  # noqa: S101 - no body has ``stream``
                return found.body
        raise NotMeasured(told)
