"""How much there is in a part of a body, however it nests. Pure functions."""

from typing import Any, NamedTuple


class Weight(NamedTuple):
    """What a value holds, at any depth."""

    items: int
    """Items of arrays."""
    characters: int
    """Characters of texts; keys of objects do not count."""
    arguments: int
    """Characters of the texts called ``arguments``, which are JSON once more."""


def weigh(value: Any, most_items: int) -> Weight:
    """Return what ``value`` holds, or less where it has more than ``most_items``."""
    items = characters = arguments = 0
    waiting = [value]
    while waiting and items <= most_items:
        found = waiting.pop()
        if isinstance(found, str):
            characters += len(found)
        elif isinstance(found, list):
            items += len(found)
            waiting += found
        elif isinstance(found, dict):
            given = found.get("arguments")
            arguments += len(given) if isinstance(given, str) else 0
            waiting += found.values()
    return Weight(items, characters, arguments)
