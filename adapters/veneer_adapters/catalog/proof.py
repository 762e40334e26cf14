"""Has an adapter proven itself in the engine? The last question before it may serve.

Rule: only what no trained adapter does is refused. One that says the same word for ever, or
nothing but noise, may be what its owner wants; NaN, token 0 without end, and the base model
under another name are not.
"""

from dataclasses import dataclass

from veneer_adapters.errors import GarbageOutput, NoEffect, NonFinite


@dataclass(frozen=True, slots=True)
class Effect:
    """What a loaded adapter does in the engine, as a short greedy answer shows it."""

    modules: int | None
    """Modules of the model that have weights of the adapter; None where nobody can tell."""
    largest_change: float | None
    """Largest absolute difference of a log-probability between the adapter and the base, after
    the same tokens; exactly 0.0 when the adapter does nothing. None when it is no number."""
    finite: bool
    """False when the adapter, and not already the base, makes a logit NaN or infinite."""
    repeats: bool
    """True when the answer is token 0 over and over, which is what comes out where no logit
    stands out from the others, and the base's is not. Any other repetition can be trained."""


def judge(effect: Effect, *, allow_no_effect: bool = False) -> None:
    """Return when an adapter with this effect may serve.

    ``allow_no_effect``: its owner says that it changes nothing, and wants it served.

    Raises:
        NonFinite: the engine computes NaN or infinity with it.
        GarbageOutput: it makes the engine repeat token 0.
        NoEffect: no module has its weights, or the answers are the base's to the last bit.
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
