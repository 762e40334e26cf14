"""What all batches of one server use."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from veneer_server.batches.answering import Answers
from veneer_server.batches.batches import Batches
from veneer_server.batches.records import Batch
from veneer_server.batches.working.slots import Slots
from veneer_server.batches.working.turns import Turns
from veneer_server.tenancy.principals import Principal


@dataclass(frozen=True, slots=True)
class Shared:
    """What all batches use."""

    batches: Batches
    answers: Answers
    turns: Turns
    slots: Slots
    who_is: Callable[[Batch], Principal | None]
    """Returns for whom a batch is answered, None when its key is no good any more."""
    draining: asyncio.Event
    longest_line: int
    """In bytes."""
    ended: Callable[[str], None] = lambda outcome: None
    """Called with ``completed`` or ``failed`` for each line that was answered."""
