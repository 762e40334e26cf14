"""dspy: programs of signatures, on LiteLLM or its own client."""

import os
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import dspy
from harness import (
    AT,
    KEY,
    PERSON,
    QUESTION,
    V1,
    check,
    faulty,
    main,
    raised,
    retried,
)


class Place(dspy.Signature):
    """Find the city in the text."""

    text: str = dspy.InputField()
    city: str = dspy.OutputField()


def model(name: str = AT.adapter, url: str = V1, **more: Any) -> Any:
    settings = {"max_tokens": 64, "cache": False, **more}
    return dspy.LM(f"openai/{name}", api_base=url, api_key=KEY, **settings)


def chat(of: Any = None) -> str:
    return str((of or model())(QUESTION)[0])


def structured() -> str:
    with dspy.context(lm=model(AT.base, temperature=0), adapter=dspy.JSONAdapter()):
        found = dspy.Predict(Place)(text=PERSON)
    check(isinstance(found.city, str), str(found))
    return repr(found.city)


def errors() -> str:
    return raised(Exception, lambda: chat(model("nobody", num_retries=0)), "nobody")


def again(fault: str) -> str:
    return retried(fault, chat(model(url=faulty(fault) + "/v1")))


if __name__ == "__main__":
    main(
        "dspy",
        {
            "chat": chat,
            "structured": structured,
            "errors": errors,
            "limited": lambda: again("limited"),
            "cold": lambda: again("cold"),
        },
    )
