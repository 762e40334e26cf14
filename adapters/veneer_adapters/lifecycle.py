"""Every state a revision can be in, and every legal step between two states.

Rule 1: a revision or a slot changes its state only through ``advance`` and the table in this file.
        ``catalog/entry.py`` does it for revisions, ``Slot.step`` for slots. A new revision begins
        as STAGED and a new slot as READY. A name without a revision is shown as STAGING or FAILED.
Rule 2: this file only says which state comes next. It does not load, log or wait.

The catalog moves a revision through the upper half of the table: what it has proved. Residency
moves a slot through the lower half: what the engine does with it. What clients see of an adapter is
put together from both, in ``catalog/snapshot.py`` and ``adapters.py``.
"""

from enum import StrEnum


class State(StrEnum):
    """What a revision may do next."""

    STAGING = "staging"
    STAGED = "staged"
    """Verified and stored; the engine has not proved its effect yet."""
    READY = "ready"
    LOADING = "loading"
    RESIDENT = "resident"
    EVICTING = "evicting"
    FAILED = "failed"


class Event(StrEnum):
    """What can happen to a revision."""

    STAGE = "stage"
    VERIFIED = "verified"
    PROVED = "proved"
    """The engine generated with it, and the proof of effect passed."""
    REFUSED = "refused"
    """The proof failed, or the stored files are damaged for good."""
    LOAD = "load"
    """A load into a device slot begins, from disk or from a host slot."""
    LOADED = "loaded"
    LOAD_FAILED = "load_failed"
    EVICT = "evict"
    DEACTIVATED = "deactivated"
    """It left its device slot; its copy in the host slot stays."""
    EVICTED = "evicted"
    EVICT_FAILED = "evict_failed"


class IllegalTransition(AssertionError):
    """The code tried a step that is not in the table: a bug in Veneer, never the user's fault."""


TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.FAILED, Event.STAGE): State.STAGING,
    (State.STAGING, Event.VERIFIED): State.STAGED,
    (State.STAGED, Event.PROVED): State.READY,
    (State.READY, Event.PROVED): State.READY,
    (State.STAGED, Event.REFUSED): State.FAILED,
    (State.READY, Event.REFUSED): State.FAILED,
    (State.READY, Event.LOAD): State.LOADING,
    (State.RESIDENT, Event.LOAD): State.LOADING,
    (State.LOADING, Event.LOADED): State.RESIDENT,
    # A failed load may leave half an adapter in its slot; the engine must unload that too.
    (State.LOADING, Event.LOAD_FAILED): State.EVICTING,
    (State.RESIDENT, Event.EVICT): State.EVICTING,
    (State.EVICTING, Event.DEACTIVATED): State.RESIDENT,
    (State.EVICTING, Event.EVICTED): State.READY,
    (State.EVICTING, Event.EVICT_FAILED): State.RESIDENT,
}


def advance(state: State, event: Event) -> State:
    """Return the state after ``event``.

    Raises:
        IllegalTransition: the table has no such step.
    """
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise IllegalTransition(f"{event} cannot happen to an adapter that is {state}") from None
