"""One table from every exception to the error that a client of OpenAI or Anthropic expects.

A subclass without a row gets the row of its nearest ancestor in the table. The same row serves a
plain answer and, once a stream has begun, its last event.

    ApiFault
    ├── MalformedRequest           the request is not HTTP, or can be read in two ways
    ├── HeadTooLarge, HeadTooSlow  its headers are over a limit, of size or of time
    ├── InvalidJson, NotAnObject   the body is not a JSON object
    ├── BodyTooLarge, BodyTooSlow  the body is over a limit, of size or of time
    ├── InvalidRequest             a field, a header or a query has an impossible value
    │   ├── UnsupportedParameter   a field would have no effect, or only the server may set it
    │   └── NoAdapterAtPath        vLLM's route was told to load what is not there
    ├── NotServed                  OpenAI has such a route, but this server no such model
    ├── KeyReused                  the Idempotency-Key belongs to another request
    ├── OutcomeUnknown             nobody knows what the first request with the key did
    ├── TooManyConnections         more than the limit are open
    ├── TasksFailing               a background task keeps failing: not ready
    ├── StateUnwritable            it is not ready: changes cannot be written down
    └── ShuttingDown               the server is stopping
"""

import math
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, replace
from typing import Any

import orjson
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from veneer_adapters import errors as adapters
from veneer_server.api.urls import explain_method, explain_unknown, explain_unserved, methods_of
from veneer_server.batches import errors as batches
from veneer_server.conversations import errors as conversations
from veneer_server.engine import base as engine
from veneer_server.files import errors as files
from veneer_server.serving.admission import Overloaded
from veneer_server.serving.cold_starts import AdapterCold
from veneer_server.serving.wishes import TurnTooLate, WishNotUnderstood
from veneer_server.tenancy import errors as tenancy
from veneer_server.training.jobs import errors as jobs
from veneer_server.training.rows import faults as rows

logger = structlog.get_logger(__name__)


class ApiFault(Exception):
    """The HTTP request itself is wrong, or the server is stopping."""


class MalformedRequest(ApiFault):
    """What arrived is not an HTTP request, or two programs could read it differently."""


class HeadTooLarge(ApiFault):
    """The headers are more or larger than ``limits.max_headers`` or ``max_header_bytes``."""


class HeadTooSlow(ApiFault):
    """The headers did not arrive within ``limits.header_timeout_s``."""


class InvalidJson(ApiFault):
    """The body is not JSON."""


class NotAnObject(ApiFault):
    """The body is JSON, but not an object."""


class BodyTooLarge(ApiFault):
    """The body is larger than ``limits.max_body_bytes``."""


class BodyTooSlow(ApiFault):
    """The body did not arrive within ``limits.body_timeout_s`` and what its size adds to that."""


class InvalidRequest(ApiFault):
    """The route cannot act on the request; ``param`` names the field, header or query."""

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class UnsupportedParameter(InvalidRequest):
    """A field would have no effect here, or only the server may set it."""


class NoAdapterAtPath(InvalidRequest):
    """vLLM's route to load an adapter was given a path where there is none."""


class NotServed(ApiFault):
    """OpenAI has the route, but it asks for a model of a kind that is not served here."""


class KeyReused(ApiFault):
    """The Idempotency-Key was sent with another request."""


class OutcomeUnknown(ApiFault):
    """A request with this Idempotency-Key began, and nobody knows whether it took effect."""


class TooManyConnections(ApiFault):
    """More than ``limits.max_connections`` are open, and no idle one could be closed."""


class ShuttingDown(ApiFault):
    """The server is stopping: it is not ready, or the request could not finish in time."""


class TasksFailing(ApiFault):
    """A task that the server cannot do without keeps failing."""


class StateUnwritable(ApiFault):
    """The server is not ready, because changes cannot be written down."""


@dataclass(frozen=True, slots=True)
class ApiError:
    """An error as the client sees it."""

    status: int
    type: str
    code: str | None
    message: str = ""
    param: str | None = None
    retry_after_s: int | None = None


_LONGEST_RETRY_S = 60
_MESSAGES = "/v1/messages"
_INVALID, _SERVER = "invalid_request_error", "server_error"
_TABLE: dict[type[Exception], ApiError] = {
    adapters.AdapterNotFound: ApiError(404, _INVALID, "model_not_found", param="model"),
    adapters.AdapterFailed: ApiError(409, _INVALID, "adapter_failed", param="model"),
    adapters.QuotaExceeded: ApiError(429, "insufficient_quota", "insufficient_quota"),
    adapters.AdapterRejected: ApiError(400, _INVALID, "adapter_invalid"),
    adapters.AdapterExists: ApiError(409, _INVALID, "adapter_exists", param="name"),
    adapters.AliasMoved: ApiError(412, _INVALID, "alias_moved", param="If-Match"),
    adapters.CatalogConflict: ApiError(409, _INVALID, "adapter_conflict"),
    adapters.StateBusy: ApiError(503, _SERVER, "state_busy", retry_after_s=5),
    adapters.CacheFull: ApiError(507, _SERVER, "cache_full"),
    adapters.SourceUnavailable: ApiError(
        503, _SERVER, "adapter_source_unavailable", retry_after_s=5
    ),
    adapters.AdapterUnavailable: ApiError(503, _SERVER, "adapter_unavailable", retry_after_s=5),
    adapters.NoSlotFree: ApiError(503, _SERVER, "adapter_capacity", retry_after_s=5),
    engine.ContextLengthExceeded: ApiError(400, _INVALID, "context_length_exceeded"),
    engine.NotSupported: ApiError(400, _INVALID, "unsupported_parameter"),
    engine.UnsupportedSchema: ApiError(400, _INVALID, "unsupported_schema"),
    engine.SchemaTooComplex: ApiError(400, _INVALID, "schema_too_complex"),
    engine.RequestRejected: ApiError(400, _INVALID, None),
    engine.EngineLost: ApiError(503, _SERVER, "engine_lost", retry_after_s=10),
    engine.EngineUnavailable: ApiError(503, _SERVER, "engine_unavailable", retry_after_s=10),
    conversations.NotKept: ApiError(404, _INVALID, None),
    conversations.PreviousResponseNotFound: ApiError(400, _INVALID, "previous_response_not_found"),
    conversations.StateRefused: ApiError(400, _INVALID, None),
    conversations.RunsFull: ApiError(503, _SERVER, "server_overloaded", retry_after_s=5),
    conversations.StateUnavailable: ApiError(503, _SERVER, "state_unavailable", retry_after_s=5),
    batches.BatchNotFound: ApiError(404, _INVALID, None),
    batches.BatchRefused: ApiError(400, _INVALID, None),
    batches.BatchesFull: ApiError(429, "insufficient_quota", "insufficient_quota"),
    batches.BatchesUnavailable: ApiError(503, _SERVER, "state_unavailable", retry_after_s=5),
    files.FileNotFound: ApiError(404, _INVALID, None),
    files.FileRefused: ApiError(400, _INVALID, None),
    files.FileTooLarge: ApiError(413, _INVALID, "request_too_large"),
    files.FilesFull: ApiError(429, "insufficient_quota", "insufficient_quota"),
    files.UploadsFull: ApiError(503, _SERVER, "server_overloaded", retry_after_s=5),
    files.DiskFull: ApiError(507, _SERVER, "disk_full"),
    files.FilesUnavailable: ApiError(503, _SERVER, "state_unavailable", retry_after_s=5),
    jobs.JobNotFound: ApiError(404, _INVALID, None),
    jobs.JobRefused: ApiError(400, _INVALID, None),
    jobs.JobUnsupported: ApiError(400, _INVALID, "unsupported"),
    jobs.TrainingImpossible: ApiError(400, _INVALID, "training_unavailable"),
    jobs.JobsFull: ApiError(429, "insufficient_quota", "insufficient_quota"),
    jobs.JobsUnavailable: ApiError(503, _SERVER, "state_unavailable", retry_after_s=5),
    rows.TooFewRows: ApiError(400, _INVALID, rows.TooFewRows.code),
    rows.TrainingFileError: ApiError(400, _INVALID, rows.TrainingFileError.code),
    MalformedRequest: ApiError(400, _INVALID, "malformed_request"),
    HeadTooLarge: ApiError(431, _INVALID, "headers_too_large"),
    HeadTooSlow: ApiError(408, _INVALID, "headers_too_slow"),
    InvalidJson: ApiError(400, _INVALID, "invalid_json"),
    NotAnObject: ApiError(400, _INVALID, "invalid_json"),
    UnsupportedParameter: ApiError(400, _INVALID, "unsupported_parameter"),
    NoAdapterAtPath: ApiError(404, _INVALID, "adapter_not_found"),
    InvalidRequest: ApiError(400, _INVALID, None),
    NotServed: ApiError(400, _INVALID, "unsupported_endpoint"),
    BodyTooSlow: ApiError(408, _INVALID, "body_too_slow"),
    BodyTooLarge: ApiError(413, _INVALID, "request_too_large"),
    tenancy.Unauthorized: ApiError(401, _INVALID, "invalid_api_key"),
    tenancy.ScopeMissing: ApiError(403, _INVALID, "missing_scope"),
    tenancy.NotOwned: ApiError(403, _INVALID, "not_your_namespace", param="name"),
    tenancy.KeyNotFound: ApiError(404, _INVALID, "key_not_found", param="id"),
    tenancy.NobodyLeft: ApiError(409, _INVALID, "last_admin_key"),
    tenancy.TokensLimited: ApiError(429, "tokens", "rate_limit_exceeded", retry_after_s=60),
    tenancy.RateLimited: ApiError(429, "requests", "rate_limit_exceeded", retry_after_s=60),
    tenancy.QuotaExceeded: ApiError(429, "insufficient_quota", "insufficient_quota"),
    tenancy.QuotasUnavailable: ApiError(503, _SERVER, "quotas_unavailable", retry_after_s=5),
    KeyReused: ApiError(409, _INVALID, "idempotency_key_reused", param="Idempotency-Key"),
    OutcomeUnknown: ApiError(409, _INVALID, "idempotency_outcome_unknown", param="Idempotency-Key"),
    TasksFailing: ApiError(503, _SERVER, "tasks_failing", retry_after_s=30),
    StateUnwritable: ApiError(503, _SERVER, "state_unwritable", retry_after_s=30),
    WishNotUnderstood: ApiError(400, _INVALID, None),
    AdapterCold: ApiError(503, _SERVER, "adapter_cold", retry_after_s=1),
    TurnTooLate: ApiError(503, _SERVER, "deadline_exceeded", retry_after_s=1),
    Overloaded: ApiError(503, _SERVER, "server_overloaded", retry_after_s=5),
    TooManyConnections: ApiError(503, _SERVER, "server_overloaded", retry_after_s=5),
    ShuttingDown: ApiError(503, _SERVER, "server_shutting_down", retry_after_s=5),
}
_UNEXPECTED = ApiError(500, _SERVER, "internal_error", "The server had an error; see its log.")
_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "invalid_request_error",
    409: "invalid_request_error",
    412: "invalid_request_error",
    413: "request_too_large",
    429: "rate_limit_error",
    431: "invalid_request_error",
    503: "overloaded_error",
}
"""Source: https://docs.anthropic.com/en/api/errors"""


def to_api_error(error: Exception) -> ApiError:
    """Return the row for ``error``, with its message and parameter.

    The client never sees the message of an error that has no row.
    """
    if isinstance(error, HTTPException):
        return ApiError(error.status_code, _INVALID, _code_of(error), str(error.detail))
    if isinstance(error, RequestValidationError):
        return _of_query(error)
    if isinstance(error, adapters.LoadFailed) and isinstance(error.__cause__, engine.EngineDown):
        # The load failed because there is no engine, which says more.
        error = error.__cause__
    for cls in type(error).__mro__:
        if cls in _TABLE:
            param = getattr(error, "param", None)
            param = _TABLE[cls].param if param is None else param  # a member may be called ""
            if isinstance(error, adapters.AdapterRejected | adapters.CatalogConflict):
                param = param or error.reason
            found = replace(_TABLE[cls], message=str(error), param=param)
            return _with_source_delay(found, getattr(error, "retry_after_s", None))
    return _UNEXPECTED


def _of_query(error: RequestValidationError) -> ApiError:
    first = error.errors()[0]
    param = str(first["loc"][-1])
    return ApiError(400, _INVALID, None, f"Invalid '{param}': {first['msg']}.", param)


def _with_source_delay(row: ApiError, asked_s: float | None) -> ApiError:
    # When a source says how long to wait, that is better than the table's guess.
    if asked_s is None or row.retry_after_s is None:
        return row
    return replace(row, retry_after_s=min(max(math.ceil(asked_s), 1), _LONGEST_RETRY_S))


def _code_of(error: HTTPException) -> str | None:
    return {404: "unknown_url", 405: "method_not_allowed"}.get(error.status_code)


def is_anthropic(scope: Mapping[str, Any]) -> bool:
    """Return whether Anthropic's client sent the request: by its path, or by its header."""
    if scope["path"].startswith(_MESSAGES):
        return True
    return any(name == b"anthropic-version" for name, _ in scope["headers"])


def to_body(
    error: ApiError, *, anthropic: bool = False, request_id: str | None = None
) -> dict[str, Any]:
    """Return the JSON document for ``error``: in Anthropic's form for its clients, else OpenAI's.

    Only Anthropic's form has ``request_id``.
    """
    if anthropic:
        kind = _ANTHROPIC_TYPES.get(error.status, "api_error")
        shown = {"type": kind, "message": error.message}
        return {"type": "error", "error": shown, "request_id": request_id}
    return {
        "error": {
            "message": error.message,
            "type": error.type,
            "param": error.param,
            "code": error.code,
        }
    }


def to_event(
    error: ApiError, path: str, sequence_number: int, request_id: str | None = None
) -> bytes:
    """Return the event that ends a stream with ``error``; no event may follow it."""
    if path.startswith(_MESSAGES):
        body = orjson.dumps(to_body(error, anthropic=True, request_id=request_id))
        return b"event: error\ndata: " + body + b"\n\n"
    if path.startswith("/v1/responses"):
        event = {
            "type": "error",
            "code": error.code,
            "message": error.message,
            "param": error.param,
            "sequence_number": sequence_number,
        }
        return b"event: error\ndata: " + orjson.dumps(event) + b"\n\n"
    return b"data: " + orjson.dumps(to_body(error)) + b"\n\n"


def report(error: Exception, api_error: ApiError, state: MutableMapping[str, Any]) -> None:
    """Note in the ``state`` of a request what its log line says of ``error``.

    An error of the server is also logged with its traceback, which the client does not see.
    """
    state["code"] = to_reason(api_error)
    if api_error.status == 503:
        # A known state of the server, and nothing to look for in its code.
        state["why"] = str(error)
    elif api_error.status >= 500:
        logger.error("request failed", code=api_error.code, exc_info=error)


def to_reason(api_error: ApiError) -> str:
    """Return the name of ``api_error`` in logs and metrics: its code, or ``invalid_request``."""
    return api_error.code or "invalid_request"


async def answer(request: Request, error: Exception) -> Response:
    """Return the response for ``error``."""
    if isinstance(error, HTTPException) and error.status_code == 404:
        error = _not_served(request) or error
    api_error = to_api_error(error)
    report(error, api_error, request.scope.setdefault("state", {}))
    path = request.scope["path"]
    headers = {"content-type": "application/json"}
    if isinstance(error, tenancy.TenancyError):
        headers |= error.headers
    if isinstance(error, HTTPException):
        api_error = replace(api_error, message=_about_url(request, api_error))
    if api_error.status == 405:
        headers["allow"] = ", ".join(methods_of(request.app.routes, path))
    if api_error.retry_after_s is not None:
        headers["retry-after"] = str(api_error.retry_after_s)
    if api_error.code == "insufficient_quota":
        headers["x-should-retry"] = "false"
    if api_error.status == 401:
        headers["www-authenticate"] = "Bearer"
    request_id = getattr(request.state, "request_id", None)
    shown = to_body(api_error, anthropic=is_anthropic(request.scope), request_id=request_id)
    body = orjson.dumps(shown)
    return Response(body, status_code=api_error.status, headers=headers)


def _not_served(request: Request) -> NotServed | None:
    told = explain_unserved(request.method, request.scope["path"])
    return None if told is None else NotServed(told)


def _about_url(request: Request, api_error: ApiError) -> str:
    explain = {404: explain_unknown, 405: explain_method}.get(api_error.status)
    if explain is None:
        return api_error.message
    return explain(request.app.routes, request.method, request.scope["path"])


async def _answer_nobody(_request: Request, _error: Exception) -> Response:
    return Response(status_code=499)


def install(app: FastAPI) -> None:
    """Make ``app`` answer every exception as the table says; a client that left gets nothing."""
    for cls in (*_TABLE, HTTPException, RequestValidationError, engine.EngineError, Exception):
        app.add_exception_handler(cls, answer)
    app.add_exception_handler(ClientDisconnect, _answer_nobody)
