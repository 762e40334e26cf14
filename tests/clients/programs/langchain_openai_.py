"""langchain-openai: ChatOpenAI on chat completions and on Responses."""

from typing import Any

import openai
from harness import (
    AT,
    KEY,
    PERSON,
    QUESTION,
    TOO_LONG,
    V1,
    WEATHER,
    cancelled_so_far,
    check,
    faulty,
    get_weather,
    gone,
    main,
    raised,
    retried,
)
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel


class Person(BaseModel):
    """A person."""

    name: str
    city: str


def model(name: str = AT.adapter, url: str = V1, **more: Any) -> ChatOpenAI:
    return ChatOpenAI(
        model=name, base_url=url, api_key=KEY, **{"max_completion_tokens": 16, **more}
    )


def chat(of: ChatOpenAI | None = None) -> str:
    answer = (of or model()).invoke(QUESTION)
    check(answer.usage_metadata is not None, "no usage")
    return str(answer.content)


def stream(of: ChatOpenAI | None = None) -> str:
    chunks = list((of or model(stream_usage=True)).stream(QUESTION))
    check(any(chunk.usage_metadata for chunk in chunks), "no usage")
    return "".join(str(chunk.content) for chunk in chunks)


def tools() -> str:
    weather = tool(get_weather)
    of = model(AT.tools, temperature=0, max_completion_tokens=64).bind_tools([weather])
    said: list[Any] = [HumanMessage(WEATHER)]
    said.append(of.invoke(said))
    [call] = said[-1].tool_calls
    said.append(ToolMessage(weather.invoke(call["args"]), tool_call_id=call["id"]))
    return str(of.invoke(said).content)


def structured() -> str:
    exact = {"max_completion_tokens": 80, "temperature": 0}
    found = []
    for method in ("json_schema", "function_calling"):
        of = model(AT.base, **exact).with_structured_output(Person, method=method)
        found.append(of.invoke(PERSON))
    check(all(isinstance(one, Person) for one in found), str(found))
    return repr(found[0])


def responses() -> str:
    of = model(use_responses_api=True, use_previous_response_id=True)
    said: list[Any] = [HumanMessage(QUESTION)]
    said += [of.invoke(said), HumanMessage("And at night?")]
    second = of.invoke(said)
    check(second.response_metadata["id"].startswith("resp_"), "no id of a response")
    return str(second.text)


def errors() -> str:
    told = raised(openai.NotFoundError, lambda: chat(model("nobody")), "model_not_found")
    return (
        told
        + ", "
        + raised(
            openai.BadRequestError,
            lambda: model(AT.base).invoke(TOO_LONG),
            "context_length_exceeded",
        )
    )


def broken() -> str:
    of = model(url=faulty("broken") + "/v1")
    return raised(openai.APIError, lambda: stream(of), "engine stopped")


async def cancelled() -> str:
    before = cancelled_so_far()
    chunks = model(AT.base, max_completion_tokens=1500).astream(QUESTION)
    await anext(chunks)
    await chunks.aclose()
    return await gone(before)


if __name__ == "__main__":
    main(
        "langchain-openai",
        {
            "chat": chat,
            "stream": stream,
            "tools": tools,
            "structured": structured,
            "responses": responses,
            "errors": errors,
            "limited": lambda: retried("limited", chat(model(url=faulty("limited") + "/v1"))),
            "cold": lambda: retried("cold", chat(model(url=faulty("cold") + "/v1"))),
            "broken": broken,
            "cancelled": cancelled,
        },
    )
