"""pydantic-ai-slim[openai]: agents on chat completions and on Responses."""

from typing import Any

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
from openai import APIError
from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.exceptions import ModelAPIError, ModelHTTPError
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider


class Person(BaseModel):
    name: str
    city: str


def agent(name: str = AT.adapter, url: str = V1, of: Any = OpenAIChatModel, **more: Any) -> Any:
    settings = {"max_tokens": 48, **more.pop("settings", {})}
    model = of(name, provider=OpenAIProvider(base_url=url, api_key=KEY))
    return Agent(model, model_settings=settings, **more)


async def chat(of: Any = None) -> str:
    answer = await (of or agent()).run(QUESTION)
    check(answer.usage.output_tokens > 0, "no usage")
    return answer.output


async def stream(of: Any = None) -> str:
    async with (of or agent()).run_stream(QUESTION) as answer:
        return "".join([text async for text in answer.stream_text(delta=True)])


async def tools() -> str:
    answer = await agent(AT.tools, tools=[get_weather], settings={"temperature": 0}).run(WEATHER)
    called = [part for said in answer.all_messages() for part in said.parts]
    check(any(part.part_kind == "tool-return" for part in called), "no tool was called")
    return answer.output


async def structured() -> str:
    answer = await agent(
        AT.base, output_type=NativeOutput(Person), settings={"temperature": 0}
    ).run(PERSON)
    check(isinstance(answer.output, Person), str(answer.output))
    return repr(answer.output)


async def responses() -> str:
    of = agent(of=OpenAIResponsesModel, settings={"openai_previous_response_id": "auto"})
    first = await of.run(QUESTION)
    return (await of.run("And at night?", message_history=first.all_messages())).output


def errors() -> str:
    told = raised(ModelHTTPError, lambda: chat(agent("nobody")), "model_not_found")
    return (
        told
        + ", "
        + raised(ModelHTTPError, lambda: agent(AT.base).run(TOO_LONG), "context_length_exceeded")
    )


async def again(fault: str) -> str:
    return retried(fault, await chat(agent(url=faulty(fault) + "/v1")))


def broken() -> str:
    of = agent(url=faulty("broken") + "/v1")
    return raised((APIError, ModelAPIError), lambda: stream(of), "engine stopped")


async def cancelled() -> str:
    before = cancelled_so_far()
    async with agent(AT.base, settings={"max_tokens": 1500}).run_stream(QUESTION) as answer:
        texts = answer.stream_text(delta=True, debounce_by=None)
        await anext(texts)
        await answer.cancel() if hasattr(answer, "cancel") else await texts.aclose()
    return await gone(before)


if __name__ == "__main__":
    main(
        "pydantic-ai-slim",
        {
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
