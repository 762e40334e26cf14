"""Every pair of state and event is legal with one outcome, or refused."""

import itertools

import pytest

from veneer_adapters.lifecycle import TRANSITIONS, Event, IllegalTransition, State, advance

PAIRS = list(itertools.product(State, Event))


@pytest.mark.parametrize(("state", "event"), PAIRS)
def test_a_pair_is_in_the_table_or_refused(state: State, event: Event) -> None:
    if (state, event) in TRANSITIONS:
        assert advance(state, event) is TRANSITIONS[state, event]
    else:
        with pytest.raises(IllegalTransition):
            advance(state, event)


def test_every_state_can_be_reached_and_left() -> None:
    assert set(TRANSITIONS.values()) == set(State)
    assert {state for state, _ in TRANSITIONS} == set(State)


def test_every_event_happens_somewhere() -> None:
    assert {event for _, event in TRANSITIONS} == set(Event)


def test_only_a_verified_or_resident_adapter_gets_loaded() -> None:
    loadable = {state for state, event in TRANSITIONS if event is Event.LOAD}
    assert loadable == {State.READY, State.RESIDENT}
