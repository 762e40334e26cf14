"""Answers for held-out rows: by the base and adapters in this process, or by any server."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import Any

import httpx
from conversations import ADAPTERS, Row, render
from scoring import Call, Reply, parse_hermes

# Gets the adapter's name (None: the base) and rows. All these rows are answered together.
Answer = Callable[[str | None, list[Row]], list[Reply]]

ANSWER_TOKENS = 120
TOGETHER = 10


def local(folder: Path, names: list[str]) -> Answer:
    """Return a function that answers with transformers and peft in this process, in fp32."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model = PeftModel.from_pretrained(plain, str(ADAPTERS / names[0]), adapter_name=names[0])
    for name in names[1:]:
        model.load_adapter(str(ADAPTERS / name), adapter_name=name)

    def generate(rows: list[Row]) -> list[Reply]:
        prompts = [render(tokenizer, row, row["messages"], ask=True) for row in rows]
        ids = tokenizer(prompts, add_special_tokens=False, padding=True, return_tensors="pt")
        out = model.generate(**ids, max_new_tokens=ANSWER_TOKENS, do_sample=False)
        answers = out[:, ids["input_ids"].shape[1] :]
        return [parse_hermes(t) for t in tokenizer.batch_decode(answers, skip_special_tokens=True)]

    def answer(name: str | None, rows: list[Row]) -> list[Reply]:
        if name is None:
            with model.disable_adapter():
                return generate(rows)
        model.set_adapter(name)
        return generate(rows)

    return answer


def served(url: str, base_id: str, key: str) -> Answer:
    """Return a function that asks an OpenAI-compatible server; ``model`` names the adapter."""
    client = httpx.Client(headers={"Authorization": f"Bearer {key}"}, timeout=300)

    def ask(name: str | None, row: Row) -> Reply:
        body = {
            "model": name or base_id,
            "messages": row["messages"],
            "temperature": 0,
            "max_tokens": ANSWER_TOKENS,
        }
        if row.get("tools"):
            body["tools"] = row["tools"]
        response = client.post(url.rstrip("/") + "/chat/completions", json=body)
        response.raise_for_status()
        return to_reply(response.json()["choices"][0]["message"])

    def answer(name: str | None, rows: list[Row]) -> list[Reply]:
        with ThreadPoolExecutor(TOGETHER) as threads:
            return list(threads.map(ask, repeat(name), rows))

    return answer


def to_reply(message: dict[str, Any]) -> Reply:
    """Return an OpenAI message as a Reply, whether or not the server parsed the tool calls."""
    text = message.get("content") or ""
    called = [call["function"] for call in message.get("tool_calls") or ()]
    if not called:
        return parse_hermes(text)
    return Reply(text, [Call(call["name"], _parsed(call["arguments"])) for call in called])


def _parsed(arguments: str) -> Any:
    try:
        return json.loads(arguments)
    except ValueError:
        return arguments  # A text never equals an object, so the answer is scored as wrong.
