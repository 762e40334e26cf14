"""What the real engine refuses is the client's fault, plain and streamed, on every endpoint."""

from typing import Any

import httpx
import pytest

from conformance.wire import post

pytestmark = [pytest.mark.engine, pytest.mark.requirement("errors:wrong-type")]

BASE = "smollm2-135m-instruct"
HI = [{"role": "user", "content": "hi"}]
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
RESPONSES, MESSAGES = "/v1/responses", "/v1/messages"
BODIES: dict[str, dict[str, Any]] = {
    CHAT: {"model": BASE, "messages": HI, "max_tokens": 4},
    COMPLETIONS: {"model": BASE, "prompt": "x", "max_tokens": 4},
    RESPONSES: {"model": BASE, "input": "x", "max_output_tokens": 16},
    MESSAGES: {"model": BASE, "messages": HI, "max_tokens": 4},
}
NO_SCHEMA = {"type": "object", "properties": {"foo": "bar"}}
NOT_KEPT = {"type": "array", "uniqueItems": True}
ENDLESS = {"$ref": "#"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": NO_SCHEMA}}


def asking(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}


def said(schema: dict[str, Any]) -> dict[str, Any]:
    return {"format": {"type": "json_schema", "name": "x", "schema": schema}}


MANY: list[dict[str, Any]] = [{"role": "user", "content": "x"}] * 20
REFUSED: list[tuple[str, dict[str, Any], str, str]] = [
    (CHAT, {"logprobs": True, "top_logprobs": 21}, "top_logprobs", "max allowed: 20"),
    (CHAT, {"logit_bias": {"60000": 1}}, "logit_bias", "out-of-vocab"),
    (CHAT, {"stop_token_ids": [10**7]}, "stop_token_ids", "out-of-vocab"),
    (CHAT, {"allowed_token_ids": []}, "allowed_token_ids", "empty"),
    (CHAT, {"min_tokens": 50}, "min_tokens", "max_tokens=4"),
    (CHAT, {"messages": [{"role": "user", "content": None}]}, "messages[0].content", "valid"),
    (CHAT, {"tool_choice": {"type": "x"}, "tools": [TOOL]}, "tool_choice", "tool_choice"),
    (CHAT, {"messages": 7}, "messages", "valid list"),
    (CHAT, {"repetition_detection": {"max_pattern_size": 1}}, "repetition_detection", "min_count"),
    (CHAT, {"structured_outputs": {"grammar": "root ::= no"}}, "structured_outputs", "'no'"),
    (CHAT, {"structured_outputs": {"regex": "[.*"}}, "structured_outputs", "unclosed"),
    (CHAT, {"response_format": asking(NO_SCHEMA)}, "response_format", "must be an object"),
    (CHAT, {"response_format": asking(NOT_KEPT)}, "response_format", "'uniqueItems'"),
    (CHAT, {"response_format": asking(ENDLESS)}, "response_format", "No finite answer"),
    (CHAT, {"tools": [TOOL], "tool_choice": "required"}, "tools", "must be an object"),
    (RESPONSES, {"input": [*MANY, {"type": "nope"}]}, "input[20].type", "none of the values"),
    (COMPLETIONS, {"logprobs": 21}, "logprobs", "max allowed: 20"),
    (COMPLETIONS, {"prompt": [999999]}, "prompt", "out of vocabulary"),
    (COMPLETIONS, {"prompt": [[1], [999999]]}, "prompt", "999999 is out of vocabulary"),
    (COMPLETIONS, {"prompt": [[999998], [999999]]}, "prompt", "out of vocabulary"),
    (COMPLETIONS, {"prompt": "word " * 9000}, "prompt", "maximum context length"),
    (RESPONSES, {"top_logprobs": 21, "include": ["message.output_text.logprobs"]},
     "top_logprobs", "max allowed: 20"),
    (RESPONSES, {"tools": 7}, "tools", "valid list"),
    (RESPONSES, {"text": said(NO_SCHEMA)}, "text", "must be an object"),
    (RESPONSES, {"text": said(NOT_KEPT)}, "text", "'uniqueItems'"),
    (RESPONSES, {"input": "word " * 9000}, "input", "maximum context length"),
    (MESSAGES, {"output_config": said(NO_SCHEMA)}, "", "must be an object"),
    (MESSAGES, {"output_config": said(ENDLESS)}, "", "No finite answer"),
    (MESSAGES, {"tools": [{"name": "f", "input_schema": NO_SCHEMA}],
                "tool_choice": {"type": "any"}}, "", "must be an object"),
]  # fmt: skip
"""Path, faulty fields, the field that the error names, and a part of the reason. Anthropic's
errors name no field."""

WIDE = {"type": "object", "properties": {f"p{n}": {} for n in range(600)}}
"""Too wide for the grammar, which finds that out at its first name: an answer of `{}`, one in ten
where the tokens are drawn, would be kept to."""
NAMED: list[tuple[dict[str, Any], str]] = [
    ({"response_format": asking(NOT_KEPT)}, "unsupported_schema"),
    ({"response_format": asking(ENDLESS)}, "unsupported_schema"),
    ({"response_format": asking({"minItems": 10**7})}, "schema_too_complex"),
    ({"structured_outputs": {"regex": ".*" * 500}}, "schema_too_complex"),
    (
        {
            "response_format": asking({**WIDE, "required": ["a"], "properties": {"a": WIDE}}),
            "max_tokens": 20,
            "temperature": 0,
        },
        "schema_too_complex",
    ),
]
"""Faulty fields of a chat, and the code of the error."""


async def ended(url: str, outcome: str) -> float:
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        text = (await client.get("/metrics")).text
    counts = [line for line in text.splitlines() if line.startswith("veneer_requests_total{")]
    return sum(float(line.split()[-1]) for line in counts if f'outcome="{outcome}"' in line)


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(("path", "fault", "param", "reason"), REFUSED)
async def test_what_the_engine_refuses_is_the_clients_fault_with_field_and_reason(
    engine_url: str, path: str, fault: dict[str, Any], param: str, reason: str, streaming: bool
) -> None:
    failed, rejected = await ended(engine_url, "failed"), await ended(engine_url, "rejected")
    response = await post(engine_url, path, {**BODIES[path], **fault, "stream": streaming})
    error = response.json()["error"]
    assert response.status_code == 400, response.text
    assert error["type"] == "invalid_request_error"
    assert reason in error["message"]
    assert error.get("param", "") == param
    assert await ended(engine_url, "failed") == failed
    assert await ended(engine_url, "rejected") == rejected + 1


@pytest.mark.parametrize(("fault", "code"), NAMED)
async def test_a_schema_that_is_not_kept_or_too_complex_has_a_code(
    engine_url: str, fault: dict[str, Any], code: str
) -> None:
    response = await post(engine_url, CHAT, {**BODIES[CHAT], **fault})
    assert (response.status_code, response.json()["error"]["code"]) == (400, code)
