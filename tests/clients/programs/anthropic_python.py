"""anthropic: the Messages API, with a bearer token (2.x) or with x-api-key (before 1)."""

import json
from typing import Any

import anthropic
from harness import (
    AT,
    FUNCTION,
    KEY,
    MESSAGES,
    PERSON,
    REPORT,
    TOO_LONG,
    WEATHER,
    cancelled_so_far,
    check,
    faulty,
    gone,
    main,
    raised,
    retried,
)

FIRST = anthropic.__version__.startswith("0.")
SIGNED: Any = {"api_key": KEY} if FIRST else {"auth_token": KEY}
TOOL: Any = {
    "name": FUNCTION["name"],
    "description": FUNCTION["description"],
    "input_schema": FUNCTION["parameters"],
}
GREEDY: Any = {"extra_body": {"temperature": 0}}
client = anthropic.Anthropic(base_url=AT.url, timeout=60, **SIGNED)


def chat(of: anthropic.Anthropic = client, model: str = AT.adapter) -> str:
    answer = of.messages.create(model=model, messages=MESSAGES, max_tokens=16)
    check(answer.model == model, f"the answer is of {answer.model}")
    counted = of.messages.count_tokens(model=model, messages=MESSAGES)
    check(counted.input_tokens == answer.usage.input_tokens, "another count of tokens")
    return answer.content[0].text


def listing() -> str:
    found = list(client.models.list())
    check({AT.base, AT.adapter, AT.tools} <= {model.id for model in found}, "some are missing")
    check(all(model.type == "model" and model.display_name for model in found), str(found[0]))
    return f"{len(found)} models"


def stream(of: anthropic.Anthropic = client) -> str:
    with of.messages.stream(model=AT.adapter, messages=MESSAGES, max_tokens=16) as events:
        text = "".join(events.text_stream)
        check(events.get_final_message().usage.output_tokens > 0, "no usage")
    return text


def tools() -> str:
    said: list[Any] = [{"role": "user", "content": WEATHER}]
    offered: Any = {"model": AT.tools, "tools": [TOOL], "max_tokens": 64, **GREEDY}
    answer = client.messages.create(messages=said, **offered, tool_choice={"type": "any"})
    [call] = [block for block in answer.content if block.type == "tool_use"]
    check(answer.stop_reason == "tool_use", f"stop_reason {answer.stop_reason}")
    check("city" in call.input, json.dumps(call.input))
    result = {"type": "tool_result", "tool_use_id": call.id, "content": REPORT}
    said += [{"role": "assistant", "content": answer.content}]
    said += [{"role": "user", "content": [result]}]
    return client.messages.create(messages=said, **offered).content[0].type


def structured() -> str:
    schema = {**FUNCTION["parameters"], "properties": {"city": {"type": "string"}}}
    answer = client.messages.create(
        model=AT.base,
        messages=[{"role": "user", "content": PERSON}],
        max_tokens=256,
        **GREEDY,
        tools=[{"name": "save", "input_schema": schema}],
        tool_choice={"type": "tool", "name": "save"},
    )
    [call] = [block for block in answer.content if block.type == "tool_use"]
    check(isinstance(call.input["city"], str), str(call.input))
    return json.dumps(call.input)


def errors() -> str:
    def too_long() -> Any:
        said: Any = [{"role": "user", "content": TOO_LONG}]
        return client.messages.create(model=AT.base, messages=said, max_tokens=16)

    answer = client.messages.create(model=AT.adapter, messages=MESSAGES, max_tokens=1)
    check(bool(answer._request_id), "no request id")
    told = raised(anthropic.NotFoundError, lambda: chat(client, "nobody"), "not_found_error")
    return told + ", " + raised(anthropic.BadRequestError, too_long, "invalid_request_error")


def usual(fault: str) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=faulty(fault), **SIGNED)


def broken() -> str:
    with usual("broken") as of:
        return raised(anthropic.APIError, lambda: stream(of), "engine stopped")


async def cancelled() -> str:
    before = cancelled_so_far()
    async with anthropic.AsyncAnthropic(base_url=AT.url, **SIGNED) as of:
        events = await of.messages.create(
            model=AT.base, messages=MESSAGES, max_tokens=1500, stream=True
        )
        await anext(aiter(events))
        await events.close()
        return await gone(before)


if __name__ == "__main__":
    main(
        "anthropic",
        {
            "list": listing,
            "chat": chat,
            "stream": stream,
            "tools": tools,
            "structured": structured,
            "errors": errors,
            "limited": lambda: retried("limited", chat(usual("limited"))),
            "cold": lambda: retried("cold", chat(usual("cold"))),
            "broken": broken,
            "cancelled": cancelled,
        },
    )
