"""openai-python: what most people's code calls."""

import json
from typing import Any

import openai
from harness import (
    AT,
    CITY,
    FUNCTION,
    KEY,
    MESSAGES,
    PERSON,
    REPORT,
    TOO_LONG,
    V1,
    WEATHER,
    cancelled_so_far,
    check,
    faulty,
    gone,
    main,
    raised,
    retried,
)
from pydantic import BaseModel

client = openai.OpenAI(base_url=V1, api_key=KEY, timeout=60)
strict = openai.OpenAI(
    base_url=V1, api_key=KEY, timeout=60, max_retries=0, _strict_response_validation=True
)


class Person(BaseModel):
    name: str
    city: str


def chat(of: openai.OpenAI = strict, model: str = AT.adapter) -> str:
    answer = of.chat.completions.create(model=model, messages=MESSAGES, max_tokens=16)
    check(answer.model == model, f"the answer is of {answer.model}")
    check(answer.usage is not None, "no usage")
    return answer.choices[0].message.content or ""


def listing() -> str:
    names = [model.id for model in strict.models.list()]
    check({AT.base, AT.adapter, AT.tools} <= set(names), f"only {names}")
    check(strict.models.retrieve(AT.adapter).id == AT.adapter, "not retrieved")
    return f"{len(names)} models"


def stream(of: openai.OpenAI = strict) -> str:
    chunks = list(
        of.chat.completions.create(
            model=AT.adapter,
            messages=MESSAGES,
            max_tokens=16,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    check(chunks[0].choices[0].delta.role == "assistant", "no role in the first chunk")
    check(all(chunk.usage is None for chunk in chunks[:-1]), "usage before the end")
    check(not chunks[-1].choices and chunks[-1].usage is not None, "no usage at the end")
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1])


def tools() -> str:
    said: list[Any] = [{"role": "user", "content": WEATHER}]
    offered: Any = {"model": AT.tools, "tools": [{"type": "function", "function": FUNCTION}]}
    answer = client.chat.completions.create(messages=said, temperature=0, **offered)
    [call] = answer.choices[0].message.tool_calls or []
    check(answer.choices[0].finish_reason == "tool_calls", "another finish reason")
    check("city" in json.loads(call.function.arguments), call.function.arguments)
    said += [answer.choices[0].message]
    said += [{"role": "tool", "tool_call_id": call.id, "content": REPORT}]
    answer = client.chat.completions.create(messages=said, temperature=0, **offered)
    return answer.choices[0].message.content or ""


def structured() -> str:
    answer = client.chat.completions.parse(
        model=AT.base,
        messages=[{"role": "user", "content": PERSON}],
        response_format=Person,
        max_tokens=80,
        temperature=0,
    )
    check(isinstance(answer.choices[0].message.parsed, Person), "not parsed")
    return repr(answer.choices[0].message.parsed)


def responses() -> str:
    first = client.responses.create(model=AT.adapter, input=MESSAGES[0]["content"])
    with client.responses.stream(
        model=AT.adapter, input="And at night?", previous_response_id=first.id
    ) as events:
        events.until_done()
        second = events.get_final_response()
    check(second.previous_response_id == first.id, "the second does not name the first")
    check(client.responses.retrieve(second.id).output_text == second.output_text, "another text")
    tool: Any = {"type": "function", **FUNCTION, "parameters": {**CITY}, "strict": True}
    asked = client.responses.create(
        model=AT.tools,
        input=WEATHER,
        tools=[tool],
        tool_choice="required",
        parallel_tool_calls=False,
        temperature=0,
    )
    [call] = [item for item in asked.output if item.type == "function_call"]
    output: Any = {"type": "function_call_output", "call_id": call.call_id, "output": REPORT}
    told = client.responses.create(
        model=AT.tools, previous_response_id=asked.id, input=[output], tools=[tool]
    )
    return told.output_text


def errors() -> str:
    def unknown() -> Any:
        return chat(client, "nobody")

    def too_long() -> Any:
        said: Any = [{"role": "user", "content": TOO_LONG}]
        return client.chat.completions.create(model=AT.base, messages=said)

    told = raised(openai.NotFoundError, unknown, "model_not_found")
    return told + ", " + raised(openai.BadRequestError, too_long, "context_length_exceeded")


def limited() -> str:
    with openai.OpenAI(base_url=faulty("limited") + "/v1", api_key=KEY) as usual:
        return retried("limited", chat(usual))


def cold() -> str:
    with openai.OpenAI(base_url=faulty("cold") + "/v1", api_key=KEY) as usual:
        return retried("cold", chat(usual))


def broken() -> str:
    with openai.OpenAI(base_url=faulty("broken") + "/v1", api_key=KEY) as usual:
        return raised(openai.APIError, lambda: stream(usual), "engine stopped")


async def cancelled() -> str:
    before = cancelled_so_far()
    async with openai.AsyncOpenAI(base_url=V1, api_key=KEY) as usual:
        chunks = await usual.chat.completions.create(
            model=AT.base, messages=MESSAGES, max_tokens=1500, stream=True
        )
        await anext(aiter(chunks))
        await chunks.close()
        return await gone(before)


if __name__ == "__main__":
    main(
        "openai",
        {
            "list": listing,
            "chat": chat,
            "stream": stream,
            "tools": tools,
            "structured": structured,
            "responses": responses,
            "errors": errors,
            "limited": limited,
            "cold": cold,
            "broken": broken,
            "cancelled": cancelled,
        },
    )
