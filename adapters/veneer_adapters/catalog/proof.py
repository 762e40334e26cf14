"""Has an adapter proved its effect in the engine? It must, before it may serve.

Rule: refuse only what no trained adapter does. An adapter that repeats a word for ever, or answers
with noise, may be what its owner wants. NaN, token 0 without end, and the base model under another
name are not.
"""

from dataclasses import dataclass

from veneer_adapters.errors import GarbageOutput, NoEffect, NonFinite


@dataclass(frozen=True, slots=True)
class Effect:
    """What a loaded adapter does in the engine, as a short greedy answer shows it."""

    modules: int | None
    """How many of the model's modules have weights of the adapter; None if nothing can tell."""
    largest_change: float | None
    """The largest absolute difference between a log-probability with the adapter and the same one
    of the base, after the same tokens. It is exactly 0.0 when the adapter does nothing, and None
    when it is not a number."""
    finite: bool
    """False when a logit is NaN or infinite with the adapter and not already with the base."""
    repeats: bool
    """True when the answer is token 0 again and again and the answer of the base is not. The engine
    answers like that when no logit stands out from the others. Any other repetition can be trained.
    """


def judge(effect: Effect, *, allow_no_effect: bool = False) -> None:
    """Return when an adapter with this effect may serve.

    With ``allow_no_effect`` an adapter that changes nothing may serve too: its owner wants that.

    Raises:
        NonFinite: the engine computes NaN or infinity with it.
        GarbageOutput: it makes the engine repeat token 0.
        NoEffect: no module has its weights, or the answers equal those of the base to the last bit.
    """
    if not effect.finite:
        raise NonFinite("With the adapter the engine computes NaN or infinity.")
    if effect.repeats:
        raise GarbageOutput("With the adapter the engine answers with nothing but token 0.")
    if allow_no_effect:
        return
    if effect.modules == 0:
        raise NoEffect("No module of the base model has weights of the adapter.")
    if effect.largest_change == 0.0:
        raise NoEffect("The adapter changes nothing: the engine computes the same without it.")
