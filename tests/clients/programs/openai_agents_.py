"""openai-agents: Responses by default; its traces would go to OpenAI, so they are off."""

import os
from typing import Any

os.environ["OPENAI_AGENTS_DISABLE_TRACING"] = "1"

import openai
from agents import (
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
)
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
from pydantic import BaseModel


class Person(BaseModel):
    name: str
    city: str


def agent(
    name: str = AT.adapter, url: str = V1, of: Any = OpenAIResponsesModel, **more: Any
) -> Agent[Any]:
    client = openai.AsyncOpenAI(base_url=url, api_key=KEY)
    settings = ModelSettings(max_tokens=more.pop("longest", 48), temperature=0)
    return Agent(name="it", model=of(name, client), model_settings=settings, **more)


async def chat(of: Agent[Any] | None = None) -> str:
    return str((await Runner.run(of or agent(), QUESTION)).final_output)


async def stream(of: Agent[Any] | None = None) -> str:
    run = Runner.run_streamed(of or agent(), QUESTION)
    kinds = {event.type async for event in run.stream_events()}
    check("raw_response_event" in kinds, str(kinds))
    return str(run.final_output)


async def tools() -> str:
    for of in (OpenAIResponsesModel, OpenAIChatCompletionsModel):
        it = agent(AT.tools, of=of, tools=[function_tool(get_weather)])
        run = await Runner.run(it, WEATHER, max_turns=4)
        kinds = [item.type for item in run.new_items]
        check("tool_call_output_item" in kinds, str(kinds))
    return str(run.final_output)


async def structured() -> str:
    run = await Runner.run(agent(AT.base, output_type=Person, longest=80), PERSON)
    check(isinstance(run.final_output, Person), str(run.final_output))
    return repr(run.final_output)


async def responses() -> str:
    # This library takes an answer that was cut for an error, so the question wants a short one.
    it = agent(AT.base, longest=512)
    first = await Runner.run(it, "What is 2 + 2? Answer with one number.")
    again = [*first.to_input_list(), {"role": "user", "content": "And 3 + 3?"}]
    await Runner.run(it, again)
    second = await Runner.run(it, "And 3 + 3?", previous_response_id=first.last_response_id)
    return str(second.final_output)


def errors() -> str:
    told = raised(openai.NotFoundError, lambda: chat(agent("nobody")), "model_not_found")
    return (
        told
        + ", "
        + raised(
            openai.BadRequestError, lambda: Runner.run(agent(AT.base), TOO_LONG), "context_length"
        )
    )


async def again(fault: str) -> str:
    of = agent(url=faulty(fault) + "/v1", of=OpenAIChatCompletionsModel)
    return retried(fault, await chat(of))


def broken() -> str:
    of = agent(url=faulty("broken") + "/v1", of=OpenAIChatCompletionsModel)
    return raised(openai.APIError, lambda: stream(of), "engine stopped")


async def cancelled() -> str:
    before = cancelled_so_far()
    run = Runner.run_streamed(agent(AT.base, longest=1500), QUESTION)
    async for event in run.stream_events():
        if event.type == "raw_response_event" and "delta" in event.data.type:
            run.cancel()
            break
    return await gone(before)


if __name__ == "__main__":
    main(
        "openai-agents",
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
