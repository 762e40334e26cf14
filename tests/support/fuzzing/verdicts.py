"""What every answer must keep to, whatever was asked. Pure functions."""

import json
from collections.abc import Mapping
from typing import Any

import httpx

MOST_SAID = 2000
"""Most characters of a message: it does not repeat what the client wrote at length."""
_REQUIRED = frozenset({"model", "models", "messages", "prompt", "input", "tokens", "max_tokens"})
"""Members that an error may name though the body lacks them."""
_WITH_PARAM = frozenset(
    {"/v1/chat/completions", "/v1/completions", "/v1/responses", "/tokenize", "/detokenize"}
    | {"/v1/responses/input_tokens", "/v1/veneer/compare"}
)
"""Where an error must name a member of the body."""
_CLIENTS = frozenset({400, 401, 404, 405, 408, 409, 412, 413, 431})
_ENDS = (
    'data: {"type":"response.',
    "data: [DONE]",
    "event: compare.completed",
    "event: message_stop",
    "event: response.",
)


def fault_of(path: str, raw: bytes, response: httpx.Response) -> str | None:
    """Return what is wrong with the answer to ``raw``, None if nothing is."""
    if response.is_success:
        return _stream_fault(path, response)
    if response.status_code not in _CLIENTS:
        return f"the status is {response.status_code}: {response.text[:300]}"
    if not response.headers.get("x-request-id"):
        return "no x-request-id"
    return _error_fault(path, raw, response.json())


def _stream_fault(path: str, response: httpx.Response) -> str | None:
    if not response.headers["content-type"].startswith("text/event-stream"):
        return None
    *_, last = response.text.rstrip().split("\n\n")
    if last.startswith(_ENDS):
        return None
    document = json.loads(last[last.index("{") :])
    if "error" not in (document.get("type"), *document):
        return f"a stream ends with {last[:300]}"
    # An error of the client's may show itself only when the answer has begun.
    said = document.get("error", document)
    kinds = (said.get("type"), said.get("code"))
    ours = {"server_error", "api_error", "internal_error"} & {*kinds}
    return f"a stream ends with {last[:300]}" if ours else _shape_fault(path, document)


def _error_fault(path: str, raw: bytes, document: Any) -> str | None:
    if (fault := _shape_fault(path, document)) is not None:
        return fault
    error = document["error"]
    if len(error["message"]) > MOST_SAID:
        return f"a message of {len(error['message'])} characters: {error['message'][:300]}"
    return _param_fault(raw, error) if path in _WITH_PARAM else None


def _shape_fault(path: str, document: Any) -> str | None:
    members, inner = {"error"}, {"message", "type", "param", "code"}
    if path.startswith("/v1/messages"):
        members, inner = {"type", "error", "request_id"}, {"type", "message"}
    elif path.startswith("/v1/responses") and document.get("type") == "error":
        return None
    if document.keys() != members or document["error"].keys() != inner:
        return f"not the shape of an error: {document}"
    said = document["error"]["message"]
    return None if isinstance(said, str) and said else f"an error without a message: {document}"


def _param_fault(raw: bytes, error: Mapping[str, Any]) -> str | None:
    if error["code"] == "invalid_json":
        return None
    param = error["param"]
    body = json.loads(raw)
    if not isinstance(param, str):
        return f"an error that names no member: {error}"
    first = param.partition(".")[0].partition("[")[0]
    known = first in _REQUIRED or any(_names(param, member) for member in body)
    return None if known else f"an error that names a member nobody wrote: {error}"


def _names(param: str, member: str) -> bool:
    """Whether ``param`` is ``member``, something in it, or its beginning where it is very long."""
    if param.endswith("...") and member.startswith(param.removesuffix("...")):
        return True
    return param == member or param.startswith((f"{member}.", f"{member}["))
