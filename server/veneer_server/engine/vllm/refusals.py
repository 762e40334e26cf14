"""From vLLM's errors to ours: whose fault it is, why, and which field of the body is wrong."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from vllm.entrypoints.serve import create_error_response
from vllm.entrypoints.serve.engine.protocol import ErrorResponse
from vllm.exceptions import GenerationError
from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

from veneer_server.engine.base import (
    ContextLengthExceeded,
    EngineError,
    EngineLost,
    EngineUnavailable,
    NotSupported,
    RequestRejected,
    SchemaTooComplex,
)
from veneer_server.engine.vllm.dialect.faults import to_message
from veneer_server.engine.vllm.dialect.wording import for_clients
from veneer_server.engine.vllm.fields import constraint_of, field_of, prompt_of

_TOO_LONG = frozenset({"input_tokens", "input_text"})
"""Parameters that vLLM names when a prompt is too long (vLLM's renderers/params.py)."""
_UNFOLLOWED = (
    "The answer could not be held to its schema or grammar: following it became too complex for"
    " the engine. Make it smaller or simpler."
)


class Refused(Exception):
    """A handler of vLLM answered with an error document."""

    def __init__(self, response: ErrorResponse) -> None:
        super().__init__(response.error.message)
        self.response = response


def to_engine_error(
    error: Exception, body: Mapping[str, Any], *, params: Any, max_model_len: int
) -> EngineError:
    """Return our exception for ``error``, which vLLM raised while it answered ``body``.

    ``params`` are the sampling parameters of the generation that failed, None if none had begun.
    """
    if isinstance(error, EngineGenerateError) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    if isinstance(error, EngineError):
        return _with_field(error, body)
    if isinstance(error, EngineDeadError):
        return EngineLost("The engine stopped while it was answering.")
    if isinstance(error, GenerationError) and getattr(params, "structured_outputs", None):
        return SchemaTooComplex(_UNFOLLOWED, param=constraint_of(body))
    return _by_its_kind(error, body, max_model_len)


def _by_its_kind(error: Any, body: Mapping[str, Any], max_model_len: int) -> EngineError:
    if isinstance(error, ValidationError):
        return _invalid(error, body)
    if isinstance(error, Refused):
        return _from_response(error.response, body)
    parameter = getattr(error, "parameter", None)
    if parameter in _TOO_LONG:
        return _too_long(_counted(error, max_model_len), body, max_model_len)
    # vLLM's handlers raise many errors, from ValueError to jinja2's. vLLM itself knows which
    # status each has.
    response = create_error_response(error)
    if parameter is not None:
        response.error.message = str(error.args[0])  # without the value, which may be long
    return _from_response(response, body)


def _from_response(response: ErrorResponse, body: Mapping[str, Any]) -> EngineError:
    error = response.error
    if error.code == 503:
        return EngineUnavailable(error.message)
    if error.code == 501 or 400 <= error.code < 500:
        kind = NotSupported if error.code == 501 else RequestRejected
        said = for_clients(error.message)
        return kind(said, param=field_of(body, error.param, error.message))
    return EngineError(error.message)


def refuse_too_many_tokens(body: Mapping[str, Any], max_model_len: int) -> None:
    """Return unless the prompt is tokens, and more than fit.

    vLLM says the same, but first it looks at each of them in every way in which a prompt may be
    written.

    Raises:
        ContextLengthExceeded: they do not fit.
    """
    prompt = body.get("prompt")
    if not isinstance(prompt, list) or len(prompt) <= max_model_len:
        return
    if isinstance(prompt[0], int) and body.get("truncate_prompt_tokens") is None:
        raise _too_long(str(len(prompt)), body, max_model_len)


def _counted(error: Any, max_model_len: int) -> str:
    # vLLM stops counting one token above the limit; of a very long text it counts none at all.
    least = max_model_len + 1
    counted = error.value if error.parameter == "input_tokens" else least
    return str(counted) if counted > least else f"at least {least}"


def _too_long(number: str, body: Mapping[str, Any], max_model_len: int) -> ContextLengthExceeded:
    return ContextLengthExceeded(
        f"This model's maximum context length is {max_model_len} tokens. However, your messages "
        f"resulted in {number} tokens. Please reduce the length of the messages.",
        param=prompt_of(body),
    )


def _with_field(error: EngineError, body: Mapping[str, Any]) -> EngineError:
    # Of our own errors only those about a schema or a grammar name no field yet.
    if isinstance(error, RequestRejected) and error.param is None:
        error.param = constraint_of(body)
    return error


def _invalid(error: ValidationError, body: Mapping[str, Any]) -> RequestRejected:
    param, message = to_message(error.errors(include_url=False, include_input=False), body)
    message = for_clients(message.removeprefix("Value error, "))
    return RequestRejected(
        f"Invalid '{param}': {message}" if param else message, param=param or None
    )
