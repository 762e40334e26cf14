"""How much a training file may hold."""

from dataclasses import dataclass

MIB = 2**20


@dataclass(frozen=True, slots=True)
class Bounds:
    """The least and the most of a file and of its rows."""

    least_rows: int = 10
    most_rows: int = 100_000
    row_bytes: int = 4 * MIB
    file_bytes: int = 512 * MIB
    most_faults: int = 100
    """How many faults are listed; the others are only counted."""


MOST_MESSAGES = 1000
"""Most messages of one row."""
MOST_TOOLS = 128
"""Most functions of one row, as OpenAI has it."""
MOST_CALLS = 128
"""Most tool calls of one message."""
MOST_PARTS = 256
"""Most parts of one message's content."""
