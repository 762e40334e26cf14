"""A conversation that the server keeps, with the Responses API. Needs ``pip install openai``."""

import os

from openai import OpenAI

client = OpenAI(
    base_url=os.environ.get("VENEER_URL", "http://127.0.0.1:8000") + "/v1",
    api_key=os.environ.get("VENEER_API_KEY", "none"),
)

first = client.responses.create(
    model="pirate", input="What does a lighthouse do?", max_output_tokens=80
)
print("First:", first.output_text)

second = client.responses.create(
    model="pirate",
    input="And at night?",
    previous_response_id=first.id,  # the server puts the first turn before this one
    max_output_tokens=80,
)
print("Second:", second.output_text)

items = client.responses.input_items.list(second.id, order="asc")
print("The second answers:", ", ".join(item.role for item in items))
