"""What the Python programs share: where the server is, what is asked, how a feature is told.

A program maps features to functions. Each runs once, within a time, and prints one JSON line. It
returns what it saw, in a few words, and raises when that is not what its users need.
"""

import asyncio
import inspect
import json
import signal
import sys
import time
import traceback
import urllib.request
from collections.abc import Callable, Mapping
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

LONGEST_S = 90
AT: Any = SimpleNamespace(**json.loads(sys.argv[1]))
"""``url`` and ``faults`` without ``/v1``; ``base``, ``adapter``, ``tools``: models; ``client``;
``features``: those to run."""
V1 = f"{AT.url}/v1"
KEY = "none"
QUESTION = "What does a lighthouse do?"
MESSAGES = [{"role": "user", "content": QUESTION}]
WEATHER = "What is the weather in Paris?"
CITY = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "properties": {"city": {"type": "string", "description": "the city"}},
    "required": ["city"],
    "additionalProperties": False,
}
FUNCTION = {
    "name": "get_weather",
    "description": "Get the weather in a city.",
    "parameters": CITY,
}
REPORT = "18 degrees and sunny"
PERSON = "Maria works as a nurse in Lisbon."
TOO_LONG = "word " * 9000


def faulty(fault: str) -> str:
    """Return the URL, without ``/v1``, of a server with this fault, for this client alone."""
    return f"{AT.faults}/{fault}/{_story(fault)}"


def _story(fault: str) -> str:
    return f"{AT.client}-{fault}"


def read(url: str) -> str:
    """Return what a GET of ``url`` answers."""
    with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - our own
        return answer.read().decode()


def retried(fault: str, said: Any) -> str:
    """Check that the client asked again, not before it was told to, and got its answer."""
    first, *more = json.loads(read(f"{AT.faults}/seen/{_story(fault)}"))
    check(bool(said), "no answer after the retry")
    check(bool(more), "the client did not ask again")
    check(more[0] - first >= 0.95, f"it asked again after {more[0] - first:.2f} s")
    return "asked again after the second it was told to wait"


def check(held: bool, otherwise: str) -> None:
    """Raise ``AssertionError`` with the sentence unless it held."""
    if not held:
        raise AssertionError(otherwise)


def raised(cls: Any, call: Callable[[], Any], *words: str) -> str:
    """Check that ``call`` raises ``cls`` with all ``words`` in its text."""
    try:
        found = call()
        if inspect.iscoroutine(found):
            found = asyncio.run(found)
    except cls as error:
        text = f"{error} {getattr(error, 'body', '')}"
        missing = [word for word in words if word not in text]
        check(not missing, f"{missing} not in: {text[:300]}")
        return type(error).__name__
    raise AssertionError(f"nothing was raised; the answer was {str(found)[:200]}")


def cancelled_so_far() -> float:
    """Return how many requests the server has seen cancelled."""
    lines = read(f"{AT.url}/metrics").splitlines()
    ours = [x for x in lines if x.startswith("veneer_requests_total") and '"cancelled"' in x]
    return sum(float(line.split()[-1]) for line in ours)


def until_cancelled(before: float) -> str:
    """Return once the server has seen one more; its generation has ended by then."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if cancelled_so_far() > before:
            return "the server stopped generating"
        time.sleep(0.05)
    raise AssertionError("the server went on generating")


async def gone(before: float) -> str:
    """Await ``until_cancelled``, while this loop goes on closing what was closed."""
    return await asyncio.to_thread(until_cancelled, before)


def get_weather(city: str) -> str:
    """Get the weather in a city.

    Args:
        city: the city
    """
    return REPORT


def main(package: str, features: Mapping[str, Callable[[], Any]]) -> None:
    """Run what is asked for and print a line for each, and one with the package's version."""
    print(json.dumps({"package": package, "version": version(package)}), flush=True)
    for name, run in features.items():
        if name in AT.features:
            print(json.dumps({"feature": name, **_outcome(run)}), flush=True)


def _outcome(run: Callable[[], Any]) -> dict[str, str]:
    signal.signal(signal.SIGALRM, _too_late)
    signal.alarm(LONGEST_S)
    try:
        found = run()
        if inspect.iscoroutine(found):
            found = asyncio.run(found)
    except Exception as error:
        text = f"{type(error).__module__}.{type(error).__name__}: {error}"
        traceback.print_exc()
        return {"outcome": "failed", "detail": text[:600]}
    finally:
        signal.alarm(0)
    return {"outcome": "ok", "detail": str(found)[:200]}


def _too_late(_signal: int, _frame: Any) -> None:
    raise TimeoutError(f"not done after {LONGEST_S} s")
