"""instructor: typed answers, by tools and by JSON schema."""

from typing import Any

import instructor
import openai
from harness import (
    AT,
    KEY,
    MESSAGES,
    PERSON,
    V1,
    check,
    faulty,
    main,
    raised,
    retried,
)
from instructor.core import InstructorRetryException
from pydantic import BaseModel

SAID: Any = [{"role": "user", "content": PERSON}]


class Person(BaseModel):
    name: str
    city: str


class Free(BaseModel):
    text: str


def patched(mode: instructor.Mode, url: str = V1) -> Any:
    return instructor.from_openai(openai.OpenAI(base_url=url, api_key=KEY), mode=mode)


def ask(mode: instructor.Mode, url: str = V1, model: str = AT.base, **more: Any) -> Any:
    asked = {"messages": SAID, "max_tokens": 80, "temperature": 0, "max_retries": 1, **more}
    return patched(mode, url).create(model=model, response_model=Person, **asked)


def structured() -> str:
    modes = (instructor.Mode.TOOLS, instructor.Mode.JSON_SCHEMA)
    found = [ask(mode) for mode in modes]
    check(all(isinstance(one, Person) for one in found), str(found))
    return repr(found[0])


def stream() -> str:
    parts = patched(instructor.Mode.TOOLS).create_partial(
        model=AT.base, response_model=Person, messages=SAID, max_tokens=80, temperature=0
    )
    return repr(list(parts)[-1])


def chat() -> str:
    of = patched(instructor.Mode.TOOLS)
    answer = of.create(model=AT.adapter, response_model=None, messages=MESSAGES, max_tokens=16)
    return str(answer.choices[0].message.content)


def errors() -> str:
    def unknown() -> Any:
        return ask(instructor.Mode.TOOLS, model="nobody")

    return raised((InstructorRetryException, openai.NotFoundError), unknown, "model_not_found")


def again(fault: str) -> str:
    return retried(fault, ask(instructor.Mode.TOOLS, faulty(fault) + "/v1"))


if __name__ == "__main__":
    main(
        "instructor",
        {
            "chat": chat,
            "stream": stream,
            "structured": structured,
            "errors": errors,
            "limited": lambda: again("limited"),
            "cold": lambda: again("cold"),
        },
    )
