"""vLLM's raw answers, recorded from 0.32 with the embedded model, in the official shapes."""

import json
from pathlib import Path
from typing import Any

import pytest

from conformance.schema import OfficialSchema
from conformance.wire import DONE, events
from veneer_server.api.official.answers.conversions import to_document, to_events
from veneer_server.engine.base import Endpoint

MODEL = "team/name@live"
_LINES = Path(__file__).with_name("vllm_answers.jsonl").read_text().splitlines()
RECORDED: dict[str, dict[str, Any]] = {r["name"]: r for r in map(json.loads, _LINES)}
SCHEMAS = {
    Endpoint.CHAT: ("CreateChatCompletionResponse", "CreateChatCompletionStreamResponse"),
    Endpoint.COMPLETIONS: ("CreateCompletionResponse", "CreateCompletionResponse"),
    Endpoint.RESPONSES: ("Response", "ResponseStreamEvent"),
    Endpoint.MESSAGES: ("Message", "MessageStreamEvent"),
    Endpoint.COUNT_TOKENS: ("CountMessageTokensResponse", ""),
}
ANTHROPIC = {Endpoint.MESSAGES, Endpoint.COUNT_TOKENS}
DIVERGENT = {"completions.stream", "completions.echo_logprobs"}
OFFICIAL = [n for n, r in RECORDED.items() if r["endpoint"] in SCHEMAS and n not in DIVERGENT]


def converted(name: str) -> list[Any]:
    """Return what leaves the server: one document, or the documents of a stream."""
    recorded = RECORDED[name]
    endpoint = Endpoint(recorded["endpoint"])
    if "document" in recorded:
        document = json.loads(json.dumps(recorded["document"]))
        return [to_document(endpoint, document, model=MODEL, asked=recorded.get("asked", {}))]
    convert = to_events(endpoint, model=MODEL, asked=recorded["asked"])
    return events(b"".join(convert(event.encode()) for event in recorded["events"]).decode())


@pytest.mark.requirement("answers:vllm-shapes")
@pytest.mark.parametrize("name", OFFICIAL)
def test_a_recorded_answer_takes_the_official_shape(
    name: str, openai_schema: OfficialSchema, anthropic_schema: OfficialSchema
) -> None:
    endpoint = Endpoint(RECORDED[name]["endpoint"])
    schema = anthropic_schema if endpoint in ANTHROPIC else openai_schema
    kind = SCHEMAS[endpoint]["events" in RECORDED[name]]
    for document in converted(name):
        if document != DONE:
            schema.check(kind, document)


@pytest.mark.requirement("answers:vllm-shapes")
@pytest.mark.parametrize("name", ["chat", "responses", "messages"])
def test_the_schemas_refuse_what_vllm_says_unconverted(
    name: str, openai_schema: OfficialSchema, anthropic_schema: OfficialSchema
) -> None:
    endpoint = Endpoint(RECORDED[name]["endpoint"])
    schema = anthropic_schema if endpoint in ANTHROPIC else openai_schema
    assert schema.fault(SCHEMAS[endpoint][0], RECORDED[name]["document"]) is not None


@pytest.mark.requirement("answers:public-model")
@pytest.mark.parametrize("name", RECORDED)
def test_the_engines_name_of_the_model_never_shows(name: str) -> None:
    text = json.dumps(converted(name))
    assert '"base"' not in text
    if Endpoint(RECORDED[name]["endpoint"]) in set(SCHEMAS) - {Endpoint.COUNT_TOKENS}:
        assert f'"{MODEL}"' in text


@pytest.mark.requirement("chat:answer")
@pytest.mark.parametrize(
    ("name", "member"),
    [
        ("chat", "kv_transfer_params"),
        ("completions", "kv_transfer_params"),
        ("responses", "kv_transfer_params"),
        ("messages", "kv_transfer_params"),
        ("tokenize", "token_strs"),
    ],
)
def test_an_answer_has_no_member_of_vllms_that_says_nothing(name: str, member: str) -> None:
    [document] = converted(name)
    assert RECORDED[name]["document"][member] is None
    assert member not in document


@pytest.mark.requirement("responses:members")
def test_a_response_repeats_how_the_model_was_asked_to_reason() -> None:
    [document] = converted("responses.reasoning")
    assert document["reasoning"] == {"effort": "low", "summary": "auto"}


OPEN_RESPONSES = (
    *("background", "completed_at", "created_at", "error", "frequency_penalty", "id"),
    *("incomplete_details", "instructions", "max_output_tokens", "max_tool_calls", "metadata"),
    *("model", "object", "output", "parallel_tool_calls", "presence_penalty", "text"),
    *("previous_response_id", "prompt_cache_key", "reasoning", "safety_identifier", "tools"),
    *("service_tier", "status", "store", "temperature", "tool_choice", "top_logprobs", "top_p"),
    *("truncation", "usage"),
)
"""What ``ResponseResource`` of Open Responses requires."""


@pytest.mark.requirement("responses:members")
@pytest.mark.parametrize("name", [n for n in RECORDED if n.startswith("responses")])
def test_a_response_has_every_member_that_open_responses_requires(name: str) -> None:
    last = converted(name)[-1]
    response = last.get("response", last)
    assert [member for member in OPEN_RESPONSES if member not in response] == []
    assert response["reasoning"].keys() == {"effort", "summary"}
    done = response["completed_at"] is not None
    assert done == (response["status"] == "completed")


@pytest.mark.requirement("responses:members")
def test_the_first_event_says_what_the_request_asked_for() -> None:
    asked = {"tool_choice": "required", "store": False, "top_logprobs": 3, "user": None}
    convert = to_events(Endpoint.RESPONSES, model=MODEL, asked=asked)
    [first] = events(convert(RECORDED["responses.stream"]["events"][0].encode()).decode())
    shown = first["response"]
    assert (shown["tool_choice"], shown["store"], shown["top_logprobs"]) == ("required", False, 3)
    assert shown["max_output_tokens"] is None
    assert shown["usage"]["total_tokens"] == 0


@pytest.mark.requirement("chat:content-of-a-call")
@pytest.mark.parametrize("name", ["chat.tools.required", "chat.tools.named"])
def test_the_content_beside_a_call_is_null(name: str) -> None:
    [document] = converted(name)
    assert document["choices"][0]["message"]["content"] is None


@pytest.mark.requirement("responses:incomplete")
def test_a_response_that_was_cut_off_ends_as_incomplete() -> None:
    *_, last = converted("responses.logprobs.stream")
    assert last["type"] == "response.incomplete"
    assert last["response"]["incomplete_details"] == {"reason": "max_output_tokens"}


@pytest.mark.requirement("responses:incomplete")
def test_the_item_that_was_cut_off_is_incomplete_too() -> None:
    *_, done, last = converted("responses.logprobs.stream")
    assert done["type"] == "response.output_item.done"
    assert done["item"]["status"] == last["response"]["output"][-1]["status"] == "incomplete"
    *_, done, last = converted("responses.stream")
    assert done["item"]["status"] == last["response"]["output"][-1]["status"] == "completed"


@pytest.mark.requirement("responses:usage")
@pytest.mark.parametrize("name", ["responses", "responses.tool.req"])
def test_the_usage_of_a_response_has_its_details_and_nothing_else(name: str) -> None:
    [document] = converted(name)
    usage = document["usage"]
    assert usage["input_tokens_details"].keys() == {"cached_tokens", "cache_write_tokens"}
    assert usage["output_tokens_details"] == {"reasoning_tokens": 0}


@pytest.mark.requirement("completions:stream")
def test_only_the_last_chunk_of_a_completion_has_a_finish_reason(
    openai_schema: OfficialSchema,
) -> None:
    *chunks, usage, done = converted("completions.stream")
    assert done == DONE
    openai_schema.check("CreateCompletionResponse", usage)
    reasons = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
    assert reasons == [None] * (len(chunks) - 1) + ["length"]
    for chunk in chunks:
        chunk["choices"][0]["finish_reason"] = "stop"
        openai_schema.check("CreateCompletionResponse", chunk)


@pytest.mark.requirement("completions:echo-logprobs")
def test_the_first_token_of_an_echoed_prompt_has_no_logprob(openai_schema: OfficialSchema) -> None:
    [document] = converted("completions.echo_logprobs")
    logprobs = document["choices"][0]["logprobs"]
    assert logprobs["token_logprobs"].pop(0) is None
    assert logprobs["top_logprobs"].pop(0) is None
    openai_schema.check("CreateCompletionResponse", document)


@pytest.mark.requirement("messages:citations")
def test_citations_are_a_list_which_every_client_reads() -> None:
    [message] = converted("messages")
    texts = [block for block in message["content"] if block["type"] == "text"]
    assert texts
    assert all(block["citations"] == [] for block in texts)
