"""litellm: the SDK that many proxies and frameworks sit on; model names begin with openai/."""

import json
import os
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm
from harness import (
    AT,
    FUNCTION,
    KEY,
    MESSAGES,
    PERSON,
    QUESTION,
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

BROKEN = litellm.exceptions.MidStreamFallbackError


class Person(BaseModel):
    name: str
    city: str


def ask(name: str = AT.adapter, url: str = V1, **more: Any) -> Any:
    asked = {"messages": MESSAGES, "max_tokens": 16, **more}
    return litellm.completion(model=f"openai/{name}", api_base=url, api_key=KEY, **asked)


def listing() -> str:
    names = litellm.get_valid_models(
        check_provider_endpoint=True, custom_llm_provider="openai", api_base=AT.url, api_key=KEY
    )
    check(any(AT.adapter in name for name in names), str(names))
    return f"{len(names)} models"


def chat() -> str:
    answer = ask()
    check(answer.usage.total_tokens > 0, "no usage")
    return str(answer.choices[0].message.content)


def stream(url: str = V1) -> str:
    chunks = list(ask(url=url, stream=True, stream_options={"include_usage": True}))
    return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)


def tools() -> str:
    said: list[Any] = [{"role": "user", "content": WEATHER}]
    offered = {"tools": [{"type": "function", "function": FUNCTION}], "temperature": 0}
    answer = ask(AT.tools, messages=said, max_tokens=64, **offered).choices[0].message
    [call] = answer.tool_calls
    check("city" in json.loads(call.function.arguments), call.function.arguments)
    said += [answer, {"role": "tool", "tool_call_id": call.id, "content": REPORT}]
    told = ask(AT.tools, messages=said, max_tokens=64, **offered)
    return str(told.choices[0].message.content)


def structured() -> str:
    said = [{"role": "user", "content": PERSON}]
    answer = ask(AT.base, messages=said, max_tokens=80, temperature=0, response_format=Person)
    return repr(Person.model_validate_json(answer.choices[0].message.content))


def responses() -> str:
    asked: Any = {"model": f"openai/{AT.adapter}", "api_base": V1, "api_key": KEY}
    first = litellm.responses(input=QUESTION, max_output_tokens=24, **asked)
    second = litellm.responses(
        input="And at night?", previous_response_id=first.id, max_output_tokens=24, **asked
    )
    return str(second.output[0].content[0].text)


def errors() -> str:
    said = [{"role": "user", "content": TOO_LONG}]
    told = raised(litellm.NotFoundError, lambda: ask("nobody"), "nobody")
    return (
        told
        + ", "
        + raised(litellm.ContextWindowExceededError, lambda: ask(AT.base, messages=said))
    )


def again(fault: str) -> str:
    return retried(fault, ask(url=faulty(fault) + "/v1", max_retries=2))


def broken() -> str:
    return raised(BROKEN, lambda: stream(faulty("broken") + "/v1"), "engine stopped")


async def cancelled() -> str:
    before = cancelled_so_far()
    chunks = await litellm.acompletion(
        model=f"openai/{AT.base}",
        api_base=V1,
        api_key=KEY,
        messages=MESSAGES,
        max_tokens=1500,
        stream=True,
    )
    await anext(aiter(chunks))
    await chunks.aclose()
    return await gone(before)


if __name__ == "__main__":
    main(
        "litellm",
        {
            "list": listing,
            "chat": chat,
            "stream": stream,
            "tools": tools,
            "structured": structured,
            "responses": responses,
            "errors": errors,
            "limited": lambda: again("limited"),
            "cold": lambda: again("cold"),
            "broken": broken,
            "cancelled": cancelled,
        },
    )
