"""What the real engine makes of members that other servers spell, bound or place otherwise."""

import json
from typing import Any

import pytest

from conformance.wire import post, stream

pytestmark = pytest.mark.engine

BASE = "smollm2-135m-instruct"
HI = [{"role": "user", "content": "Is the sky blue? Answer yes or no."}]
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
RESPONSES, MESSAGES = "/v1/responses", "/v1/messages"


async def answer(url: str, path: str, **body: Any) -> Any:
    response = await post(url, path, {"model": BASE, "temperature": 0, **body})
    assert response.status_code == 200, response.text
    return response.json()


async def chat(url: str, **body: Any) -> str:
    found = await answer(url, CHAT, **{"messages": HI, "max_tokens": 8, **body})
    content: str = found["choices"][0]["message"]["content"]
    return content


@pytest.mark.requirement("requests:other-spellings")
@pytest.mark.parametrize(
    "constraint",
    [
        {"guided_choice": ["yes", "no"]},
        {"guided_regex": "(yes|no)"},
        {"regex": "(yes|no)"},
        {"grammar": 'root ::= "yes" | "no"'},
        {"guided_grammar": 'root ::= "yes" | "no"'},
    ],
)
async def test_an_answer_holds_a_constraint_in_the_words_of_other_servers(
    engine_url: str, constraint: dict[str, Any]
) -> None:
    assert await chat(engine_url, **constraint) in ("yes", "no")


SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "boolean"}},
    "required": ["a"],
    "additionalProperties": False,
}


@pytest.mark.requirement("requests:other-spellings")
@pytest.mark.parametrize("name", ["guided_json", "json_schema", "format"])
async def test_an_answer_holds_a_schema_in_the_words_of_other_servers(
    engine_url: str, name: str
) -> None:
    found = json.loads(await chat(engine_url, **{name: SCHEMA, "max_tokens": 32}))
    assert found in ({"a": True}, {"a": False})


@pytest.mark.requirement("requests:other-spellings")
async def test_a_fault_in_a_translated_member_is_named_as_it_was_written(engine_url: str) -> None:
    body = {"model": BASE, "messages": HI, "guided_regex": "[.*"}
    error = (await post(engine_url, CHAT, body)).json()["error"]
    assert error["param"] == "guided_regex"


@pytest.mark.requirement("requests:openais-bounds")
async def test_several_greedy_answers_are_equal_to_the_one(engine_url: str) -> None:
    one = await chat(engine_url)
    found = await answer(engine_url, CHAT, messages=HI, max_tokens=8, n=2)
    assert [choice["message"]["content"] for choice in found["choices"]] == [one, one]


@pytest.mark.requirement("requests:openais-bounds")
async def test_top_p_0_is_the_most_likely_token(engine_url: str) -> None:
    assert await chat(engine_url, top_p=0, temperature=2) == await chat(engine_url)


@pytest.mark.requirement("requests:openais-bounds")
async def test_a_response_repeats_top_p_0(engine_url: str) -> None:
    found = await answer(engine_url, RESPONSES, input="Hi", max_output_tokens=4, top_p=0)
    assert found["top_p"] == 0


@pytest.mark.requirement("requests:openais-bounds")
async def test_an_empty_suffix_is_none(engine_url: str) -> None:
    found = await answer(engine_url, COMPLETIONS, prompt="One, two,", max_tokens=4, suffix="")
    assert found["choices"][0]["text"]


TEXTS = ["File: notes.txt", "Summarise it."]


@pytest.mark.requirement("requests:text-parts")
@pytest.mark.parametrize("path", [CHAT, MESSAGES])
async def test_text_parts_are_read_as_lines(engine_url: str, path: str) -> None:
    def asked(content: Any) -> dict[str, Any]:
        return {"messages": [{"role": "user", "content": content}], "max_tokens": 4}

    parts = [{"type": "text", "text": text} for text in TEXTS]
    as_parts = await answer(engine_url, path, **asked(parts))
    as_lines = await answer(engine_url, path, **asked("\n".join(TEXTS)))
    assert tokens(as_parts) == tokens(as_lines)


@pytest.mark.requirement("requests:text-parts")
@pytest.mark.parametrize("role", ["user", "assistant"])
async def test_text_parts_of_a_response_are_read_as_lines(engine_url: str, role: str) -> None:
    kind = "input_text" if role == "user" else "output_text"

    def asked(content: Any) -> dict[str, Any]:
        items = [{"role": role, "content": content, "type": "message"}]
        return {"input": [*items, {"role": "user", "content": "x"}], "max_output_tokens": 4}

    parts = [{"type": kind, "text": text} for text in TEXTS]
    as_parts = await answer(engine_url, RESPONSES, **asked(parts))
    as_lines = await answer(engine_url, RESPONSES, **asked("\n".join(TEXTS)))
    assert tokens(as_parts) == tokens(as_lines)


def tokens(found: Any) -> int:
    usage = found["usage"]
    count: int = usage.get("prompt_tokens") or usage["input_tokens"]
    return count


def tool(name: str) -> dict[str, Any]:
    parameters = {"type": "object", "properties": {}, "additionalProperties": False}
    return {"name": name, "description": name, "parameters": parameters}


@pytest.mark.requirement("tools:allowed")
async def test_a_chat_calls_only_allowed_tools(engine_url: str) -> None:
    allowed = [{"type": "function", "function": {"name": "two"}}]
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": allowed}}
    tools = [{"type": "function", "function": tool(name)} for name in ("one", "two")]
    asked = {"messages": HI, "tools": tools, "tool_choice": choice, "max_tokens": 64}
    found = await answer(engine_url, CHAT, **asked)
    calls = found["choices"][0]["message"]["tool_calls"]
    assert {call["function"]["name"] for call in calls} == {"two"}


@pytest.mark.requirement("tools:allowed")
async def test_a_response_calls_only_allowed_tools_and_repeats_what_was_asked(
    engine_url: str,
) -> None:
    choice = {
        "type": "allowed_tools",
        "mode": "required",
        "tools": [{"type": "function", "name": "two"}],
    }
    tools = [{"type": "function", **tool(name)} for name in ("one", "two")]
    asked = {"input": "Hi", "tools": tools, "tool_choice": choice, "max_output_tokens": 64}
    found = await answer(engine_url, RESPONSES, **asked)
    calls = [item["name"] for item in found["output"] if item["type"] == "function_call"]
    assert {*calls} == {"two"}
    assert found["tool_choice"] == choice
    assert [one["name"] for one in found["tools"]] == ["one", "two"]


PREFILL = [{"role": "user", "content": "List colors"}, {"role": "assistant", "content": "Red, gr"}]


@pytest.mark.requirement("messages:prefill")
@pytest.mark.parametrize("blocks", [False, True])
async def test_a_begun_message_is_continued(engine_url: str, blocks: bool) -> None:
    last = "Red, green, bl"
    content: Any = [{"type": "text", "text": last}] if blocks else last
    begun = [PREFILL[0], {"role": "assistant", "content": content}]
    found = await answer(engine_url, MESSAGES, messages=begun, max_tokens=8)
    continued = await answer(
        engine_url,
        CHAT,
        messages=[PREFILL[0], {"role": "assistant", "content": last}],
        continue_final_message=True,
        add_generation_prompt=False,
        max_tokens=8,
    )
    assert found["content"][0]["text"] == continued["choices"][0]["message"]["content"]
    assert tokens(found) == tokens(continued)


@pytest.mark.requirement("messages:prefill")
async def test_a_stream_continues_a_begun_message_too(engine_url: str) -> None:
    asked = {"model": BASE, "messages": PREFILL, "max_tokens": 8, "temperature": 0}
    whole = await answer(engine_url, MESSAGES, messages=PREFILL, max_tokens=8)
    events = await stream(engine_url, MESSAGES, asked)
    deltas = [e["delta"]["text"] for e in events if e["type"] == "content_block_delta"]
    assert "".join(deltas) == whole["content"][0]["text"]


@pytest.mark.requirement("chat:stream:continuous-usage")
@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
@pytest.mark.parametrize("wanted", [True, False])
async def test_every_chunk_has_the_usage_so_far_only_where_both_are_asked_for(
    engine_url: str, path: str, wanted: bool
) -> None:
    options = {"include_usage": wanted, "continuous_usage_stats": True}
    said = {"messages": HI} if path == CHAT else {"prompt": "One, two,"}
    body = {"model": BASE, "max_tokens": 4, "ignore_eos": True, "stream_options": options, **said}
    *chunks, _done = await stream(engine_url, path, body)
    counted = [chunk.get("usage") for chunk in chunks]
    if not wanted:
        assert counted == [None] * len(chunks)
        return
    numbers = [usage["completion_tokens"] for usage in counted]
    assert numbers == sorted(numbers)
    assert numbers[-1] == 4


LONG = "The quick brown fox jumps over the lazy dog. " * 60


@pytest.mark.requirement("usage:cached")
async def test_usage_tells_cached_tokens_on_every_endpoint(engine_url: str) -> None:
    message = [{"role": "user", "content": LONG}]
    asked: list[tuple[str, dict[str, Any]]] = [
        (CHAT, {"messages": message, "max_tokens": 2}),
        (COMPLETIONS, {"prompt": LONG, "max_tokens": 2}),
        (RESPONSES, {"input": LONG, "max_output_tokens": 2}),
        (MESSAGES, {"messages": message, "max_tokens": 2}),
    ]
    for path, body in asked:
        await answer(engine_url, path, **body)
        usage = (await answer(engine_url, path, **body))["usage"]
        assert cached(usage) > 0, path
        events = await stream(engine_url, path, with_usage(path, body))
        told = [found for event in events if (found := usage_of_event(event))]
        assert told[-1].items() <= usage.items(), path  # Anthropic's events have fewer members


def cached(usage: dict[str, Any]) -> Any:
    details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details")
    return details["cached_tokens"] if details else usage["cache_read_input_tokens"]


def usage_of_event(event: Any) -> dict[str, Any] | None:
    holder = {} if event == "[DONE]" else event.get("response") or event
    usage: dict[str, Any] | None = holder.get("usage")
    return usage


def with_usage(path: str, body: dict[str, Any]) -> dict[str, Any]:
    options = {"stream_options": {"include_usage": True}} if path in (CHAT, COMPLETIONS) else {}
    return {"model": BASE, "temperature": 0, **body, **options}


@pytest.mark.requirement("errors:no-flags")
@pytest.mark.parametrize(
    ("path", "body"),
    [
        (MESSAGES, {"messages": HI, "max_tokens": 2048,
                    "thinking": {"type": "enabled", "budget_tokens": 1024}}),
        (CHAT, {"messages": HI, "thinking_token_budget": 10}),
    ],
)  # fmt: skip
async def test_a_message_names_no_flag(engine_url: str, path: str, body: dict[str, Any]) -> None:
    response = await post(engine_url, path, {"model": BASE, **body})
    assert response.status_code == 400
    assert "does not think" in response.json()["error"]["message"]
    assert "--" not in response.json()["error"]["message"]
