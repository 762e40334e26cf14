"""Anthropic's client, whole and as it is written. Needs ``pip install anthropic``."""

import os

from anthropic import Anthropic

client = Anthropic(
    base_url=os.environ.get("VENEER_URL", "http://127.0.0.1:8000"),  # without /v1
    api_key=os.environ.get("VENEER_API_KEY", "none"),
)
question = {"role": "user", "content": "What does a lighthouse do?"}

answer = client.messages.create(model="pirate", max_tokens=80, messages=[question])
print("Whole:", answer.content[0].text)

print("Streamed: ", end="")
with client.messages.stream(model="pirate", max_tokens=80, messages=[question]) as stream:
    for text in stream.text_stream:
        print(text, end="", flush=True)
print()
