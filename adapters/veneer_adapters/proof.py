"""Placeholder until the proof helper's module is merged: only ``Effect`` is used here."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Effect:
    """What an adapter does in the engine, measured by a short greedy generation."""

    modules: int | None
    """Modules of the base that got weights; None when the engine cannot tell."""
    largest_change: float | None
    """Largest difference of a log-probability from the base's; None when it was not measured."""
    finite: bool = True
    """Whether every log-probability was a finite number."""
    repeats: bool = False
    """Whether the generation was nothing but token 0."""


def judge(effect: Effect, *, declared_no_effect: bool = False) -> None:
    """Placeholder until the merge."""
