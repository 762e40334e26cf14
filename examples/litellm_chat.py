"""LiteLLM: the prefix ``openai/`` and a base URL. Needs ``pip install litellm``."""

import os

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # asks no other server for prices

import litellm  # it reads the variable when it is imported

answer = litellm.completion(
    model="openai/pirate",
    api_base=os.environ.get("VENEER_URL", "http://127.0.0.1:8000") + "/v1",
    api_key=os.environ.get("VENEER_API_KEY", "none"),
    messages=[{"role": "user", "content": "What does a lighthouse do?"}],
    max_tokens=80,
)
print("Answer:", answer.choices[0].message.content)
