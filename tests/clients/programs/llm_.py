"""llm: Simon Willison's command, told of the server in extra-openai-models.yaml."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from harness import AT, FUNCTION, KEY, PERSON, QUESTION, V1, WEATHER, check, faulty, main, retried

FOLDER = Path(tempfile.mkdtemp())
FUNCTIONS = (
    'def get_weather(city: str) -> str:\n    "Get the weather in a city."\n    return "sunny"'
)


def tell(url: str = V1) -> None:
    """Write the file that a user writes."""
    lines = ""
    for name in (AT.base, AT.adapter, AT.tools, "nobody"):
        lines += f"- model_id: {name}\n  model_name: {name}\n  api_base: {url}\n"
        lines += "  supports_tools: true\n  supports_schema: true\n"
    (FOLDER / "extra-openai-models.yaml").write_text(lines)


def llm(*words: str, code: int = 0) -> str:
    """Run the command; a user's keys and logs are left alone."""
    program = str(Path(sys.executable).with_name("llm"))
    variables = {**os.environ, "LLM_USER_PATH": str(FOLDER), "OPENAI_API_KEY": KEY}
    done = subprocess.run(
        [program, *words], env=variables, capture_output=True, text=True, timeout=60, check=False
    )
    check(done.returncode == code, f"exit {done.returncode}: {done.stderr[-300:]}")
    return done.stdout.strip() if code == 0 else done.stderr


def ask(*words: str, model: str = AT.adapter) -> str:
    return llm("prompt", "-m", model, "-o", "max_tokens", "48", *words)


def listing() -> str:
    check(AT.adapter in llm("models"), "not among the models")
    return "its own file of models"


def chat() -> str:
    first = ask("--no-stream", QUESTION)
    check(bool(ask("-c", "And at night?")), "the conversation does not go on")
    return first


def tools() -> str:
    return ask("--functions", FUNCTIONS, "-o", "temperature", "0", WEATHER, model=AT.tools)


def structured() -> str:
    found = ask(
        "--schema",
        json.dumps(FUNCTION["parameters"]),
        "-o",
        "temperature",
        "0",
        "--no-stream",
        PERSON,
        model=AT.base,
    )
    check("city" in json.loads(found), found)
    return found


def errors() -> str:
    said = llm("prompt", "-m", "nobody", QUESTION, code=1)
    check("model_not_found" in said or "nobody" in said, said)
    return said.strip()[-100:]


def again(fault: str) -> str:
    tell(faulty(fault) + "/v1")
    try:
        return retried(fault, ask("--no-stream", QUESTION))
    finally:
        tell()


def broken() -> str:
    tell(faulty("broken") + "/v1")
    try:
        said = llm("prompt", "-m", AT.adapter, QUESTION, code=1)
        check("engine stopped" in said, said)
    finally:
        tell()
    return "exit code 1 and the server's sentence"


if __name__ == "__main__":
    tell()
    main(
        "llm",
        {
            "list": listing,
            "chat": chat,
            "stream": lambda: ask(QUESTION),
            "tools": tools,
            "structured": structured,
            "errors": errors,
            "limited": lambda: again("limited"),
            "cold": lambda: again("cold"),
            "broken": broken,
        },
    )
