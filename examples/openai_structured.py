"""An answer that always fits a pydantic model. Needs ``pip install openai``."""

import os

from openai import OpenAI
from pydantic import BaseModel

client = OpenAI(
    base_url=os.environ.get("VENEER_URL", "http://127.0.0.1:8000") + "/v1",
    api_key=os.environ.get("VENEER_API_KEY", "none"),
)


class Person(BaseModel):
    """What the answer must be."""

    name: str
    city: str


answer = client.chat.completions.parse(
    model="smollm2-135m-instruct",
    messages=[{"role": "user", "content": "Maria works as a nurse in Lisbon."}],
    response_format=Person,
    temperature=0,
    max_tokens=80,
)
person = answer.choices[0].message.parsed
print("Person:", person.name, "of", person.city)
