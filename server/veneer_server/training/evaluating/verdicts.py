"""Whether a new model is better than what it would stand beside or replace, and how that is told.

It is better when its loss is lower, by the margin that was asked for, than that of the base, of
the adapter from which it went on and of the live model, and when no grader likes fewer of its
answers than of theirs.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from veneer_server.training.evaluating.scoring import Sums
from veneer_server.training.rows.rows import Method


@dataclass(frozen=True, slots=True)
class Measured:
    """What one model does on the held-out rows."""

    model: str
    """As a client would write it."""
    loss: float
    accuracy: float
    """The share of tokens of which it would have chosen the right one; of preferences, the share of
    pairs that it tells apart better than the reference."""
    grades: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Comparison:
    """The models side by side, measured on the same examples by the same server."""

    base: Measured
    live: Measured | None
    candidate: Measured
    examples: int
    tokens: int
    better: bool
    why: str
    """Why it is better or not, in one sentence."""
    method: str = Method.SUPERVISED
    """With ``dpo`` the loss and ``examples`` are those of pairs."""
    start: Measured | None = None
    """The adapter from which the job went on."""

    @classmethod
    def read(cls, kept: Mapping[str, Any]) -> "Comparison":
        """Return the comparison of which ``as_json`` returned ``kept``."""
        names = ("base", "start", "live", "candidate")
        models = {name: Measured(**kept[name]) if kept.get(name) else None for name in names}
        return cls(**{**kept, **models})

    def as_json(self) -> dict[str, Any]:
        """Return what clients get."""
        return asdict(self)

    def figures(self) -> dict[str, float]:
        """Return what OpenAI's schema has of it."""
        found = {"full_valid_loss": self.candidate.loss}
        if self.method == Method.DPO:
            return found
        return found | {"full_valid_mean_token_accuracy": self.candidate.accuracy}

    def beside(self) -> dict[str, float]:
        """Return the losses of the others, as the file of results has them."""
        found = {"base": self.base, "start": self.start, "live": self.live}
        return {f"{name}_full_valid_loss": one.loss for name, one in found.items() if one}


def measured(model: str, sums: Sums, grades: Mapping[str, float]) -> Measured:
    """Return the means; ``sums`` count at least one token."""
    return Measured(model, sums.loss / sums.counted, sums.right / sums.counted, grades)


def compare(
    base: Measured,
    live: Measured | None,
    candidate: Measured,
    counts: tuple[int, int],
    margin: float,
    method: Method = Method.SUPERVISED,
    start: Measured | None = None,
) -> Comparison:
    """Return the comparison; ``counts`` are those of examples, or pairs, and of tokens."""
    is_live = start is not None and live is not None and start.model == live.model
    named = {
        "the base": base,
        "what it went on from": None if is_live else start,
        "what is live": live,
    }
    others = {name: one for name, one in named.items() if one is not None}
    faults = [why for name, one in others.items() if (why := _worse(candidate, one, name, margin))]
    why = faults[0] if faults else f"It is better than {' and '.join(others)}."
    return Comparison(base, live, candidate, *counts, not faults, why, method, start)


def told(found: Comparison, trainer: float | None) -> str:
    """Return the sentence for people; ``trainer`` is the loss that the trainer saw."""
    named = {
        "base": found.base,
        "start": found.start,
        "live": found.live,
        "candidate": found.candidate,
    }
    losses = ", ".join(f"{name} {one.loss:.3f}" for name, one in named.items() if one is not None)
    beside = "" if trainer is None else f" (the trainer saw {trainer:.3f})"
    return f"Held-out loss, measured by this server: {losses}{beside}. {found.why}"


def _worse(candidate: Measured, other: Measured, name: str, margin: float) -> str | None:
    if not candidate.loss < other.loss - margin:
        by = f" by {margin:g}" if margin else ""
        loss = f"{other.loss:.3f} of {name}"
        return f"Its loss of {candidate.loss:.3f} is not lower{by} than the {loss}."
    for grader, share in candidate.grades.items():
        if share < other.grades.get(grader, 0.0):
            return (
                f"{grader}: {share:.0%} of its answers pass, and"
                f" {other.grades[grader]:.0%} of those of {name}."
            )
    return None
