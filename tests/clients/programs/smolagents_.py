"""smolagents: OpenAIModel and the agent that calls tools."""

import json
from typing import Any

import openai
from harness import (
    AT,
    FUNCTION,
    KEY,
    PERSON,
    QUESTION,
    REPORT,
    V1,
    WEATHER,
    check,
    faulty,
    main,
    raised,
    retried,
)
from smolagents import OpenAIModel, tool


@tool
def get_weather(city: str) -> str:
    """Get the weather in a city.

    Args:
        city: the city
    """
    return REPORT


def model(name: str = AT.adapter, url: str = V1, **more: Any) -> OpenAIModel:
    return OpenAIModel(name, api_base=url, api_key=KEY, **{"max_tokens": 48, **more})


def said(text: str) -> Any:
    return [{"role": "user", "content": [{"type": "text", "text": text}]}]


def chat(of: OpenAIModel | None = None) -> str:
    return str((of or model()).generate(said(QUESTION)).content)


def stream(of: OpenAIModel | None = None) -> str:
    return "".join(part.content or "" for part in (of or model()).generate_stream(said(QUESTION)))


def tools() -> str:
    of = model(AT.tools, temperature=0)
    answer = of.generate(said(WEATHER), tools_to_call_from=[get_weather])
    [call] = answer.tool_calls
    arguments = call.function.arguments
    arguments = json.loads(arguments) if isinstance(arguments, str) else arguments
    return str(get_weather(**arguments))


def structured() -> str:
    schema = {"name": "place", "schema": FUNCTION["parameters"], "strict": True}
    asked = {"type": "json_schema", "json_schema": schema}
    answer = model(AT.base, temperature=0).generate(said(PERSON), response_format=asked)
    check("city" in json.loads(str(answer.content)), str(answer.content))
    return str(answer.content)


def errors() -> str:
    return raised(openai.NotFoundError, lambda: chat(model("nobody")), "model_not_found")


def again(fault: str) -> str:
    return retried(fault, chat(model(url=faulty(fault) + "/v1")))


def broken() -> str:
    of = model(url=faulty("broken") + "/v1")
    return raised(openai.APIError, lambda: stream(of), "engine stopped")


if __name__ == "__main__":
    main(
        "smolagents",
        {
            "chat": chat,
            "stream": stream,
            "tools": tools,
            "structured": structured,
            "errors": errors,
            "limited": lambda: again("limited"),
            "cold": lambda: again("cold"),
            "broken": broken,
        },
    )
