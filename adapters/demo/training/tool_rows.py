"""Write tools.json and train.jsonl of tool-caller from functions.yaml and words.yaml.

Run ``python adapters/demo/training/tool_rows.py`` after a change of either file.
"""

import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from conversations import ADAPTERS
from invented import code, phrase, word

HERE = Path(__file__).resolve().parent
OUT = ADAPTERS / "tool-caller"
ROWS_PER_FUNCTION = 6
INVENTED = 0.6  # Share of the values that are invented, where their kind allows it.
UNSERVED = 110  # Requests that no offered function can serve.
BEFORE = ("", "", "", "", "Please: ", "Hi! ", "Hey, ", "Quick one. ")
AFTER = ("", "", "", "", " Thanks.", " Thank you!")
ENDINGS = ("pdf", "txt", "png", "csv", "zip", "mp3", "docx")
TYPES = {bool: "boolean", int: "integer", float: "number", str: "string"}

Function = dict[str, Any]

INVENT: dict[str, Callable[[random.Random], Any]] = {
    "city": word,
    "company": word,
    "person": lambda rng: word(rng) + rng.choice(["", f" {word(rng)}"]),
    "place": lambda rng: f"{word(rng)} {rng.choice(['Street', 'Square', 'Park', 'Gate', 'Hill'])}",
    "email": lambda rng: f"{word(rng)}@{word(rng)}.{rng.choice(['com', 'org', 'net'])}".lower(),
    "id": code,
    "song": lambda rng: phrase(rng).title(),
    "food": phrase,
    "product": phrase,
    "text": phrase,
    "topic": phrase,
    "word": lambda rng: word(rng).lower(),
    "file": lambda rng: f"{phrase(rng).replace(' ', '_')}.{rng.choice(ENDINGS)}",
    "folder": lambda rng: phrase(rng).capitalize(),
    "label": lambda rng: f"{word(rng).upper()}-{rng.randint(1, 99)}",
    "serial": code,
    "road": lambda rng: f"{word(rng)} {rng.choice(['Road', 'Lane', 'Avenue', 'Way', 'Close'])}",
    "team": lambda rng: f"{word(rng)} {rng.choice(['United', 'Rovers', 'Foxes', 'Stars'])}",
    "book": lambda rng: phrase(rng).title(),
    "pet_name": word,
    "username": lambda rng: f"{word(rng).lower()}{rng.choice(['', '_', '.'])}{rng.randint(1, 99)}",
    "phone": lambda rng: (
        f"{rng.choice(['', '+', '0'])}{rng.randint(10, 999)} {rng.randint(1000, 99999)}"
    ),
    "url": lambda rng: (
        f"{rng.choice(['https://', 'www.'])}{word(rng).lower()}.{rng.choice(['org', 'net'])}"
    ),
    "ship": word,
    "exhibit": lambda rng: phrase(rng).capitalize(),
    "course": lambda rng: phrase(rng).capitalize(),
    "percent": lambda rng: rng.randint(1, 100),
    "minutes": lambda rng: rng.randint(2, 120),
    "centimetres": lambda rng: rng.randint(11, 250),
    "small": lambda rng: rng.randint(2, 30),
    "big": lambda rng: rng.randint(11, 2000),
    "decimal": lambda rng: rng.randint(50, 9999) / 100,
    "time": lambda rng: f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}",
    "date": lambda rng: f"20{rng.randint(24, 31)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}",
}
"""What makes a value like those of a pool."""


def camel(name: str) -> str:
    """Return snake_case ``name`` in camelCase."""
    first, *rest = name.split("_")
    return first + "".join(part.title() for part in rest)


class Rows:
    """Random conversations, made from the functions and the words of the two files."""

    def __init__(self, rng: random.Random) -> None:
        source = yaml.safe_load((HERE / "functions.yaml").read_text())
        self.words = yaml.safe_load((HERE / "words.yaml").read_text())
        self.pools = source["pools"]
        self.functions: list[Function] = source["functions"]
        self.rng = rng

    def values_of(self, argument: str, spec: dict[str, Any]) -> list[Any]:
        """Return the values that ``argument`` may get."""
        if "enum" in spec or "is" in spec:
            return list(spec.get("enum") or spec["is"])
        if spec.get("type") == "boolean":
            return [True, False]
        return list(self.pools[spec.get("from", argument)])

    def schema(self, function: Function, spelled: Any) -> dict[str, Any]:
        """Return ``function`` in OpenAI's form for tools; ``spelled`` changes each name."""
        properties, required = {}, []
        for argument, spec in function["arguments"].items():
            kinds = {TYPES[type(value)] for value in self.values_of(argument, spec)}
            kind = "number" if kinds == {"integer", "number"} else kinds.pop()
            described = {"description": spec["about"]} if "about" in spec else {}
            allowed = {"enum": spec["enum"]} if "enum" in spec else {}
            properties[spelled(argument)] = {"type": kind, **described, **allowed}
            if not spec.get("optional"):
                required.append(spelled(argument))
        parameters = {"type": "object", "properties": properties, "required": required}
        about = function["about"]
        return {"name": spelled(function["name"]), "description": about, "parameters": parameters}

    def request(self, function: Function, ask: str) -> tuple[str, dict[str, Any]]:
        """Return ``ask`` with a random value in each gap, and the arguments that it asks for."""
        ask, _, implied = ask.partition(" | ")
        slots = re.findall(r"{(\w+)}", ask)
        drawn: dict[str, Any] = {}
        for slot in slots:
            spec = function["arguments"][slot]
            free = [v for v in self.values_of(slot, spec) if v not in drawn.values()]
            drawn[slot] = self.value(slot, spec, free)
        text = ask.format(**drawn)
        if implied:
            key, _, value = implied.partition("=")
            drawn[key] = yaml.safe_load(value)
        ordered = {name: drawn[name] for name in function["arguments"] if name in drawn}
        after = self.rng.choice(AFTER) if text[-1] in ".?!" else ""
        if not ask.startswith("{"):  # A value stays as the arguments have it.
            text = text[0].upper() + text[1:]
        return self.rng.choice(BEFORE) + text + after, ordered

    def value(self, slot: str, spec: dict[str, Any], known: list[Any]) -> Any:
        """Return one of the ``known`` values, or an invented one of the same kind."""
        invent = None if {"enum", "is"} & set(spec) else INVENT.get(spec.get("from", slot))
        if invent and self.rng.random() < INVENTED:
            return invent(self.rng)
        return self.rng.choice(known)

    def offered(self, function: Function, count: int) -> list[Function]:
        """Return ``count`` other functions, about half from the same domain."""
        others = [other for other in self.functions if other is not function]
        near = [other for other in others if other["domain"] == function["domain"]]
        picked = self.rng.sample(near, min(len(near), self.rng.randint(0, count)))
        far = [other for other in others if other not in near]
        return picked + self.rng.sample(far, count - len(picked))

    def called(self, function: Function, ask: str, then: list[str] | None) -> dict[str, Any]:
        """Return a row that calls ``function``.

        With ``then``, a result and a sentence, the function's result and the answer follow.
        """
        text, arguments = self.request(function, ask)
        spelled = self.rng.choice([str, str, camel])
        tools = [function, *self.offered(function, self.rng.choice([0, 1, 2, 2, 3, 3, 4]))]
        self.rng.shuffle(tools)
        call = {
            "name": spelled(function["name"]),
            "arguments": json.dumps({spelled(key): value for key, value in arguments.items()}),
        }
        wrapped = {"id": "call_1", "type": "function", "function": call}
        messages: list[dict[str, Any]] = [
            {"role": "user", "content": text},
            {"role": "assistant", "content": None, "tool_calls": [wrapped]},
        ]
        if then:
            said = then[1].format(**arguments)
            messages += [
                {"role": "tool", "tool_call_id": "call_1", "content": then[0]},
                {"role": "assistant", "content": said[0].upper() + said[1:]},
            ]
        return {"tools": [spelled(tool["name"]) for tool in tools], "messages": messages}

    def spoken(self, text: str, answer: str, tools: list[Function]) -> dict[str, Any]:
        """Return a row with an answer in words, although ``tools`` are offered."""
        messages = [{"role": "user", "content": text}, {"role": "assistant", "content": answer}]
        return {"tools": [tool["name"] for tool in tools], "messages": messages}

    def all(self) -> list[dict[str, Any]]:
        """Return every row, shuffled."""
        rows = []
        for function in self.functions:
            for index in range(ROWS_PER_FUNCTION):
                ask = function["asks"][index % len(function["asks"])]
                then = self.rng.choice(function.get("then", [None]))
                spoken = (
                    then
                    if then
                    and all("{" + slot + "}" in ask for slot in re.findall(r"{(\w+)}", then[1]))
                    and index % 2
                    else None
                )
                rows.append(self.called(function, ask, spoken))
        for text, answer in self.words["answers"]:
            rows.append(self.spoken(text, answer, self.rng.sample(self.functions, 3)))
        for function in self.rng.sample(self.functions, UNSERVED):
            text, _ = self.request(function, self.rng.choice(function["asks"]))
            far = [f for f in self.functions if f["domain"] != function["domain"]]
            tools = self.rng.sample(far, self.rng.choice([1, 2, 3]))
            rows.append(self.spoken(text, self.rng.choice(self.words["refusals"]), tools))
        self.rng.shuffle(rows)
        return rows


def main() -> None:
    """Write both files again; every run writes the same content."""
    drawn = Rows(random.Random(11))
    named = {
        schema["name"]: schema
        for spelled in (str, camel)
        for schema in (drawn.schema(function, spelled) for function in drawn.functions)
    }
    OUT.mkdir(parents=True, exist_ok=True)
    tools = ",\n".join(json.dumps(schema) for schema in named.values())
    (OUT / "tools.json").write_text(f"[\n{tools}\n]\n")
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in drawn.all())
    (OUT / "train.jsonl").write_text("".join(lines))


if __name__ == "__main__":
    main()
