"""Chat completions and completions in OpenAI's shape. Pure.

Source: ``CreateChatCompletionResponse``, ``CreateChatCompletionStreamResponse`` and
``CreateCompletionResponse`` of OpenAI's OpenAPI document. Members that vLLM adds
(``stop_reason``, ``reasoning``) stay unless they are null.
"""

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from veneer_server.api.official.answers.around import Around
from veneer_server.api.official.answers.nulls import without_nulls

_CHOICE_EXTRAS = ("token_ids", "stop_reason", "prompt_token_ids")
_DETAILS = frozenset({"prompt_tokens_details", "completion_tokens_details"})
_CHUNK_EXTRAS = ("prompt_token_ids", "prompt_text")


def to_chat(body: dict[str, Any], model: str) -> dict[str, Any]:
    """Return a chat completion.

    It always has ``content``, ``refusal``, ``annotations`` and ``logprobs``, as OpenAI's do.
    """
    choices = [
        {"logprobs": None, **without_nulls(choice), "message": _to_message(choice["message"])}
        for choice in body["choices"]
    ]
    for choice in choices:
        _complete_logprobs(choice)
    return _to_answer(body, model, choices)


def to_completion(body: dict[str, Any], model: str) -> dict[str, Any]:
    """Return a completion; it always has ``logprobs``."""
    choices = [{"logprobs": None, **without_nulls(choice)} for choice in body["choices"]]
    return _to_answer(body, model, choices)


def _to_answer(
    body: Mapping[str, Any], model: str, choices: list[dict[str, Any]]
) -> dict[str, Any]:
    answer = {**without_nulls(body), "model": model, "choices": choices}
    if "usage" in answer:
        answer["usage"] = _to_usage(answer["usage"])
    return answer


def _to_usage(usage: Mapping[str, Any]) -> dict[str, Any]:
    found = without_nulls(usage)
    for name in _DETAILS & found.keys():
        found[name] = without_nulls(found[name])
    return found


def _to_message(message: Mapping[str, Any]) -> dict[str, Any]:
    found = {"content": None, "refusal": None, "annotations": [], **without_nulls(message)}
    if found.get("tool_calls") and not found["content"]:
        found["content"] = None
    return found


def _complete_logprobs(choice: dict[str, Any]) -> None:
    if choice["logprobs"] is not None:
        choice["logprobs"].setdefault("refusal", None)


def chunks(model: str, asked: Mapping[str, Any]) -> Callable[[bytes], bytes]:
    """Return the function that converts each event of one stream, chat or completion.

    When the client asked for usage, every chat chunk has ``usage``; it is null except in the
    last one. In a completion ``usage`` may not be null, so only the last chunk has it.
    """
    # ``convert`` runs once per token. So what is around the text is converted once.
    with_usage = bool((asked.get("stream_options") or {}).get("include_usage"))
    known: Around | None = None

    def convert(raw: bytes) -> bytes:
        nonlocal known
        if known is not None and (found := known.converted(raw)) is not None:
            return found
        if not raw.startswith(b"data: {"):
            return raw
        body = orjson.loads(raw[6:])
        found = b"data: " + orjson.dumps(_to_chunk(body, model, with_usage)) + b"\n\n"
        known = Around.of(raw, found, body["choices"]) or known
        return found

    return convert


def _to_chunk(body: dict[str, Any], model: str, with_usage: bool) -> dict[str, Any]:
    body["model"] = model
    for name in _CHUNK_EXTRAS:
        if name in body and body[name] is None:
            del body[name]
    for choice in body["choices"]:
        _to_chunk_choice(choice)
    if body.get("usage"):
        body["usage"] = _to_usage(body["usage"])
    elif with_usage and body["object"] == "chat.completion.chunk":
        body["usage"] = None
    return body


def _to_chunk_choice(choice: dict[str, Any]) -> None:
    for name in _CHOICE_EXTRAS:
        if name in choice and choice[name] is None:
            del choice[name]
    if choice.get("logprobs") and "delta" in choice:
        _complete_logprobs(choice)
