"""How a client's body is checked and changed before an engine gets it. Pure functions.

Rule 1: fields that only concern OpenAI's own platform are dropped.
Rule 2: fields that steer the server and not the answer are refused, because the engine would
trust them blindly.
Rule 3: fields that the engine would ignore are refused where the answer would not be the one
that the client asked for.
vLLM checks everything else.
"""

from collections.abc import Callable, Mapping
from typing import Any

from veneer_server.api.errors import InvalidRequest, UnsupportedParameter
from veneer_server.api.official.tools import hold_schema, without_empty_tools
from veneer_server.engine.base import Endpoint

_PLATFORM = frozenset(
    {
        "prediction",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "store",
        "verbosity",
    }
)
_ECHOED = frozenset({"metadata", "user"})
"""Fields that are dropped too, except where a handler needs them: a Responses answer repeats
them, and Messages has its own ``metadata``."""
_IGNORED = _PLATFORM | _ECHOED

_ENGINE_ONLY = frozenset(
    {
        "cache_salt",
        "chat_template",
        "ec_transfer_params",
        "enable_response_messages",
        "kv_transfer_params",
        "media_io_kwargs",
        "mm_payload",
        "mm_processor_kwargs",
        "previous_input_messages",
        "priority",
        "prompt_embeds",
        "request_id",
        "return_mm_kwargs",
        "routed_experts_prompt_start",
        "session_id",
        "vllm_xargs",
    }
)
"""vLLM's own fields that steer its cache, scheduler, connectors or templates: rule 2."""

_Refuses = Callable[[Any, Mapping[str, Any]], bool]


def _always(value: Any, body: Mapping[str, Any]) -> bool:
    return True


def _when_true(value: Any, body: Mapping[str, Any]) -> bool:
    return bool(value)


_CHAT: dict[str, _Refuses] = {
    "audio": _always,
    "function_call": lambda value, body: value != "none",
    "functions": _when_true,
    "modalities": lambda value, body: value != ["text"],
    "web_search_options": _always,
}
_COMPLETIONS: dict[str, _Refuses] = {
    "best_of": lambda value, body: value != body.get("n", 1),
}
_RESPONSES: dict[str, _Refuses] = {
    "background": _when_true,
    "conversation": _always,
    "previous_response_id": _always,
    "prompt": _always,
}
_MESSAGES: dict[str, _Refuses] = {"container": _always, "mcp_servers": _when_true}
_WITHOUT_EFFECT = {
    Endpoint.CHAT: _CHAT,
    Endpoint.COMPLETIONS: _COMPLETIONS,
    Endpoint.RESPONSES: _RESPONSES,
    Endpoint.MESSAGES: _MESSAGES,
}
"""Official fields that the engine accepts and ignores, and when that matters: rule 3."""

_LIMITS: dict[str, tuple[int, int | None]] = {
    "n": (1, 128),
    "max_tokens": (1, None),
    "max_completion_tokens": (1, None),
    "max_output_tokens": (1, None),
}
"""Source: https://platform.openai.com/docs/api-reference/chat/create"""
_MOST_STOPS = 4


def prepare(endpoint: Endpoint, body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the body for the engine, without members that are null or ignored.

    Raises:
        UnsupportedParameter: a field would have no effect, or only the server may set it.
        InvalidRequest: a number is out of its bounds, or there are too many stop texts.
    """
    ignored = _PLATFORM if endpoint in (Endpoint.RESPONSES, Endpoint.MESSAGES) else _IGNORED
    kept = {k: v for k, v in body.items() if v is not None and k not in ignored}
    _refuse_unsupported(endpoint, kept)
    _check_limits(endpoint, kept)
    return hold_schema(endpoint, without_empty_tools(kept))


def _refuse_unsupported(endpoint: Endpoint, body: Mapping[str, Any]) -> None:
    for name in _ENGINE_ONLY & body.keys():
        raise UnsupportedParameter(
            f"Unsupported parameter: clients may not set '{name}'; leave it out.", param=name
        )
    refuses = _WITHOUT_EFFECT.get(endpoint, {})
    for name in refuses.keys() & body.keys():
        if refuses[name](body[name], body):
            raise UnsupportedParameter(
                f"Unsupported parameter: this endpoint does not support this value of '{name}';"
                " leave it out.",
                param=name,
            )


def _check_limits(endpoint: Endpoint, body: Mapping[str, Any]) -> None:
    for name in _LIMITS.keys() & body.keys():
        least, most = _LIMITS[name]
        # A completion may ask for 0 tokens, to get only the echo of its prompt.
        _check_integer(name, body[name], 0 if endpoint is Endpoint.COMPLETIONS else least, most)
    stop = body.get("stop")
    if isinstance(stop, list) and len(stop) > _MOST_STOPS:
        raise InvalidRequest(
            f"Invalid 'stop': array too long. Expected an array with maximum length {_MOST_STOPS},"
            f" but got an array with length {len(stop)} instead.",
            param="stop",
        )


def _check_integer(name: str, value: Any, least: int, most: int | None) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidRequest(f"Invalid type for '{name}': expected an integer.", param=name)
    if value < least:
        raise InvalidRequest(
            f"Invalid '{name}': integer below minimum value. Expected a value >= {least},"
            f" but got {value} instead.",
            param=name,
        )
    if most is not None and value > most:
        raise InvalidRequest(
            f"Invalid '{name}': integer above maximum value. Expected a value <= {most},"
            f" but got {value} instead.",
            param=name,
        )
