"""haystack-ai: OpenAIChatGenerator and its Responses twin."""

import os
from typing import Any

os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"

import openai
from harness import (
    AT,
    FUNCTION,
    KEY,
    PERSON,
    QUESTION,
    TOO_LONG,
    V1,
    WEATHER,
    check,
    faulty,
    get_weather,
    main,
    raised,
    retried,
)
from haystack.components.generators.chat import (
    OpenAIChatGenerator,
    OpenAIResponsesChatGenerator,
)
from haystack.dataclasses import ChatMessage
from haystack.tools import Tool
from haystack.utils import Secret
from pydantic import BaseModel


class Person(BaseModel):
    name: str
    city: str


def model(name: str = AT.adapter, url: str = V1, of: Any = OpenAIChatGenerator, **more: Any) -> Any:
    most = "max_output_tokens" if of is OpenAIResponsesChatGenerator else "max_completion_tokens"
    settings = {most: 48, **more.pop("settings", {})}
    key = Secret.from_token(KEY)
    return of(model=name, api_base_url=url, api_key=key, generation_kwargs=settings, **more)


def say(of: Any, text: str = QUESTION, *before: Any) -> Any:
    return of.run([*before, ChatMessage.from_user(text)])["replies"][0]


def chat(of: Any = None) -> str:
    return str(say(of or model()).text)


def stream(of: Any = None, url: str = V1) -> str:
    parts: list[Any] = []
    answer = say(model(url=url, streaming_callback=parts.append))
    check(len(parts) > 2, f"{len(parts)} parts")
    return str(answer.text)


def tools() -> str:
    weather = Tool(function=get_weather, **FUNCTION)
    of = model(AT.tools, tools=[weather], settings={"temperature": 0})
    first = say(of, WEATHER)
    [call] = first.tool_calls
    told = ChatMessage.from_tool(weather.invoke(**call.arguments), origin=call)
    return str(of.run([ChatMessage.from_user(WEATHER), first, told])["replies"][0].text)


def structured() -> str:
    answer = say(model(AT.base, settings={"response_format": Person, "temperature": 0}), PERSON)
    return repr(Person.model_validate_json(answer.text))


def responses() -> str:
    of = model(of=OpenAIResponsesChatGenerator)
    first = say(of)
    return str(say(of, "And at night?", ChatMessage.from_user(QUESTION), first).text)


def errors() -> str:
    told = raised(openai.NotFoundError, lambda: chat(model("nobody")), "model_not_found")
    return (
        told
        + ", "
        + raised(
            openai.BadRequestError, lambda: say(model(AT.base), TOO_LONG), "context_length_exceeded"
        )
    )


def broken() -> str:
    return raised(openai.APIError, lambda: stream(url=faulty("broken") + "/v1"), "engine stopped")


if __name__ == "__main__":
    main(
        "haystack-ai",
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
        },
    )
