"""A chat with an adapter, whole and as it is written. Needs ``pip install openai``."""

import os

from openai import OpenAI

client = OpenAI(
    base_url=os.environ.get("VENEER_URL", "http://127.0.0.1:8000") + "/v1",
    api_key=os.environ.get("VENEER_API_KEY", "none"),
)
question = {"role": "user", "content": "What does a lighthouse do?"}

print("Models:", ", ".join(model.id for model in client.models.list()))

answer = client.chat.completions.create(model="pirate", messages=[question], max_tokens=80)
print("Whole:", answer.choices[0].message.content)

print("Streamed: ", end="")
for chunk in client.chat.completions.create(
    model="pirate", messages=[question], max_tokens=80, stream=True
):
    print(chunk.choices[0].delta.content or "", end="", flush=True)
print()
