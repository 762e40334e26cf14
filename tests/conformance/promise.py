"""What one promise to the clients is."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Requirement:
    """One promise."""

    behaviour: str
    source: str
    """A link, or ``veneer`` for a promise of our own."""
    divergence: str | None = None
    """What the server does instead, and why."""
