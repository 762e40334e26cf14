"""Every state a revision can be in, and every legal step between two states.

Rule 1: the state of a revision changes through ``advance`` and the table in this file only. A
new revision begins as STAGED; a name without any revision is shown as STAGING or FAILED.
Rule 2: this file does nothing. It does not load, log or wait. It says what may come next.

The catalog walks the upper half (what a revision has proved), residency the lower half (what
it does in the engine); READY is where they meet.
"""

from enum import StrEnum


class State(StrEnum):
    """What an adapter is allowed to do next."""

    STAGING = "staging"
    STAGED = "staged"
    """Verified and stored; the engine has not proved its effect yet."""
    READY = "ready"
    LOADING = "loading"
    RESIDENT = "resident"
    EVICTING = "evicting"
    FAILED = "failed"


class Event(StrEnum):
    """What can happen to an adapter."""

    STAGE = "stage"
    VERIFIED = "verified"
    PROVED = "proved"
    """The engine generated with it, and something other than the base's answer."""
    REFUSED = "refused"
    """The proof failed, or the stored files are damaged for good."""
    LOAD = "load"
    """Into a device slot, from disk or from a host slot."""
    LOADED = "loaded"
    LOAD_FAILED = "load_failed"
    EVICT = "evict"
    DEACTIVATED = "deactivated"
    """Out of its device slot, the host copy stays."""
    EVICTED = "evicted"
    EVICT_FAILED = "evict_failed"


class IllegalTransition(AssertionError):
    """A step that is not in the table was tried: a bug of ours, never the user's."""


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
    # A failed load may have left half an adapter in its slot: it is cleaned like any other.
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
