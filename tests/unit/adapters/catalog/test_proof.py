"""What an adapter did in the engine decides whether it may serve."""

from dataclasses import replace

import pytest

from veneer_adapters.catalog.proof import Effect, judge
from veneer_adapters.errors import AdapterRejected, GarbageOutput, NoEffect, NonFinite

TRAINED = Effect(modules=90, largest_change=1.2, finite=True, repeats=False)
BROKEN = replace(TRAINED, largest_change=None, finite=False, repeats=True)


@pytest.mark.parametrize(
    "effect",
    [
        TRAINED,
        replace(TRAINED, largest_change=1e-6),
        replace(TRAINED, largest_change=1e6),
        replace(TRAINED, modules=None),
        replace(TRAINED, largest_change=None),
    ],
)
def test_an_adapter_that_does_something_may_serve(effect: Effect) -> None:
    judge(effect)


@pytest.mark.parametrize(
    ("effect", "error"),
    [
        (BROKEN, NonFinite),
        (replace(TRAINED, repeats=True), GarbageOutput),
        (replace(TRAINED, largest_change=0.0), NoEffect),
        (replace(TRAINED, modules=0, largest_change=0.0), NoEffect),
        (replace(TRAINED, modules=0), NoEffect),
    ],
)
def test_an_adapter_that_does_nothing_or_harm_is_refused(
    effect: Effect, error: type[AdapterRejected]
) -> None:
    with pytest.raises(error):
        judge(effect)


def test_an_adapter_declared_to_do_nothing_may_do_nothing() -> None:
    judge(replace(TRAINED, largest_change=0.0), allow_no_effect=True)
    judge(replace(TRAINED, modules=0, largest_change=0.0), allow_no_effect=True)


def test_a_declaration_excuses_no_harm() -> None:
    with pytest.raises(NonFinite):
        judge(BROKEN, allow_no_effect=True)
    with pytest.raises(GarbageOutput):
        judge(replace(TRAINED, repeats=True), allow_no_effect=True)
