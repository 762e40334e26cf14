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

from veneer_server.api.errors import UnsupportedParameter
from veneer_server.api.official.checking import check_bounds
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


def prepare(endpoint: Endpoint, body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the body for the engine, without members that are null or ignored.

    Raises:
        UnsupportedParameter: a field would have no effect, or only the server may set it.
        InvalidRequest: a field is out of its bounds.
    """
    given = {k: v for k, v in body.items() if v is not None}
    ignored = _PLATFORM if endpoint in (Endpoint.RESPONSES, Endpoint.MESSAGES) else _IGNORED
    kept = {k: v for k, v in given.items() if k not in ignored}
    _refuse_unsupported(endpoint, kept)
    check_bounds(endpoint, given)
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
