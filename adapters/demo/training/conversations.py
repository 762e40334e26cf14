"""Rows of train.jsonl and heldout/*.jsonl, and the exact text that the server makes of them.

A row is ``{"messages": [...]}`` in OpenAI's fine-tuning form. Where functions are offered, the
row also has ``"tools": [names]``; the names stand for the functions in ``tools.json`` beside the
file. A held-out row has no assistant turn; it has ``expected`` and what else scoring needs.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
ADAPTERS = ROOT / "adapters" / "demo"
HELDOUT = Path(__file__).resolve().parent / "heldout"
CHAT_TEMPLATE = ROOT / "server/veneer_server/engine/vllm/embedded_chat_template.jinja"
DEFAULT_MODEL = Path("~/.cache/veneer/models/SmolLM2-135M-Instruct")
NAMES = ("pirate", "json-extractor", "haiku", "tool-caller")

Row = dict[str, Any]


class NotReady(Exception):
    """This machine lacks something that the command needs; the message says how to get it."""


class BaseModelMissing(NotReady):
    """The folder of the base model holds no checkpoint."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            f"no base model in {folder}: run `make setup`, which converts the embedded model into "
            f"{DEFAULT_MODEL}, or give another folder with --model"
        )


@dataclass(frozen=True)
class Turn:
    """One assistant turn: the text the model is shown, and the whole answer it should give."""

    prompt: str
    answer: str


def base_model(folder: Path) -> Path:
    """Return ``folder`` made absolute.

    Raises:
        NotReady: it holds no checkpoint, or what reads and trains one is not installed.
    """
    if not (find_spec("peft") and find_spec("torch")):
        raise NotReady(
            "the extra 'train' is not installed: run 'scripts/install train', and use the Python"
            " in .venv/bin"
        )
    folder = folder.expanduser()
    if not (folder / "config.json").is_file():
        raise BaseModelMissing(folder)
    return folder


def load_rows(path: Path) -> list[Row]:
    """Return the rows of ``path``, with OpenAI tool objects in place of the tools' names."""
    rows = [json.loads(line) for line in path.read_text().splitlines() if line]
    if not any("tools" in row for row in rows):
        return rows
    functions = {f["name"]: f for f in json.loads(path.with_name("tools.json").read_text())}
    for row in rows:
        names = row.get("tools", [])
        row["tools"] = [{"type": "function", "function": functions[name]} for name in names]
    return rows


def render(tokenizer: Any, row: Row, messages: list[Row], *, ask: bool) -> str:
    """Return ``messages`` as the served chat template writes them.

    With ``ask`` the text ends where the model's answer begins.
    """
    text: str = tokenizer.apply_chat_template(
        [_with_arguments_as_objects(message) for message in messages],
        tools=row.get("tools") or None,
        chat_template=CHAT_TEMPLATE.read_text(),
        tokenize=False,
        add_generation_prompt=ask,
    )
    return text


def turns(tokenizer: Any, row: Row) -> Iterator[Turn]:
    """Yield each assistant turn of ``row`` with everything that was said before it."""
    messages = row["messages"]
    for index, message in enumerate(messages):
        if message["role"] == "assistant":
            prompt = render(tokenizer, row, messages[:index], ask=True)
            whole = render(tokenizer, row, messages[: index + 1], ask=False)
            yield Turn(prompt, whole[len(prompt) :].removesuffix("\n"))


def _with_arguments_as_objects(message: Row) -> Row:
    # The API carries arguments as a JSON string; vLLM parses them before it renders a template.
    calls = [
        {**call, "function": {**call["function"], "arguments": _parsed(call)}}
        for call in message.get("tool_calls", ())
    ]
    return {**message, "tool_calls": calls} if calls else message


def _parsed(call: Row) -> Any:
    return json.loads(call["function"]["arguments"])
