"""llama-index-llms-openai-like: LlamaIndex for servers that speak like OpenAI."""

import json
from typing import Any

import openai
from harness import (
    AT,
    KEY,
    PERSON,
    QUESTION,
    V1,
    WEATHER,
    check,
    faulty,
    get_weather,
    main,
    raised,
    retried,
)
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel


class Person(BaseModel):
    """A person."""

    name: str
    city: str


def model(name: str = AT.adapter, url: str = V1, **more: Any) -> OpenAILike:
    settings = {"max_tokens": 48, "is_chat_model": True, "context_window": 2048, **more}
    return OpenAILike(model=name, api_base=url, api_key=KEY, **settings)


def chat(of: OpenAILike | None = None) -> str:
    return str((of or model()).complete(QUESTION))


def stream(of: OpenAILike | None = None) -> str:
    return "".join(part.delta or "" for part in (of or model()).stream_complete(QUESTION))


def tools() -> str:
    of = model(AT.tools, is_function_calling_model=True, temperature=0)
    answer = of.predict_and_call([FunctionTool.from_defaults(get_weather)], WEATHER)
    check(bool(answer.sources), "no tool was called")
    return str(answer)


def structured() -> str:
    of = model(
        AT.base, temperature=0, is_function_calling_model=True, should_use_structured_outputs=True
    )
    found = of.structured_predict(Person, PromptTemplate("{text}"), text=PERSON)
    check(isinstance(found, Person), str(found))
    return json.dumps(found.model_dump())


def errors() -> str:
    return raised(openai.NotFoundError, lambda: chat(model("nobody")), "model_not_found")


def broken() -> str:
    of = model(url=faulty("broken") + "/v1")
    return raised(openai.APIError, lambda: stream(of), "engine stopped")


if __name__ == "__main__":
    main(
        "llama-index-llms-openai-like",
        {
            "chat": chat,
            "stream": stream,
            "tools": tools,
            "structured": structured,
            "errors": errors,
            "limited": lambda: retried("limited", chat(model(url=faulty("limited") + "/v1"))),
            "cold": lambda: retried("cold", chat(model(url=faulty("cold") + "/v1"))),
            "broken": broken,
        },
    )
