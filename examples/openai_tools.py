"""A model calls a function of ours until it can answer. Needs ``pip install openai``."""

import json
import os

from openai import OpenAI

client = OpenAI(
    base_url=os.environ.get("VENEER_URL", "http://127.0.0.1:8000") + "/v1",
    api_key=os.environ.get("VENEER_API_KEY", "none"),
)
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "the city"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


def get_weather(city: str) -> str:
    """Return what a real program would look up."""
    return f"18 degrees and sunny in {city}"


messages = [{"role": "user", "content": "What is the weather in Paris?"}]
for _turn in range(4):
    answer = client.chat.completions.create(
        model="tool-caller", messages=messages, tools=[WEATHER], temperature=0, max_tokens=128
    )
    message = answer.choices[0].message
    messages.append(message)
    if not message.tool_calls:
        print("Answer:", message.content)
        break
    for call in message.tool_calls:
        print("Call:", call.function.name, call.function.arguments)
        result = get_weather(**json.loads(call.function.arguments))
        messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
