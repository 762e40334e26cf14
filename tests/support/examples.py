"""Runs the files of examples/ as their readers would, and says what they print."""

import os
import subprocess
from collections.abc import Sequence

from support.places import REPOSITORY

FOLDER = REPOSITORY / "examples"
LONGEST_S = 100
PRINTED = {
    "ai_sdk.mjs": ["Streamed:"],
    "anthropic_messages.py": ["Whole:", "Streamed:"],
    "curl.sh": ['"id":"pirate"', '"content":', "data: [DONE]"],
    "langchain_chat.py": ["Whole:", "Streamed:"],
    "litellm_chat.py": ["Answer:"],
    "openai_chat.py": ["Models:", "Whole:", "Streamed:"],
    "openai_responses.py": ["First:", "Second:", "The second answers: user, assistant, user"],
    "openai_structured.py": ["Person:"],
    "openai_tools.py": ["Call: get_weather", "Answer:"],
}
"""What each prints; behind a colon at the end stands what the server said."""


def run(command: Sequence[str], url: str, name: str) -> None:
    """Run the example ``name`` by ``command``; fail unless it prints what it should."""
    done = subprocess.run(
        command,
        env={**os.environ, "VENEER_URL": url},
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for words in PRINTED[name]:
        found = [line for line in done.stdout.splitlines() if words in line]
        assert found, f"{words} not in {done.stdout}"
        assert found[0].strip() != words or not words.endswith(":"), f"nothing after {words}"
