"""What a client may ask for beside its request, in headers. Pure."""

import math
from dataclasses import dataclass
from enum import StrEnum

COLD_START_HEADER = "x-veneer-cold-start"
TIMEOUT_HEADER = "x-request-timeout"
_LONGEST_S = 3600.0


class ColdStart(StrEnum):
    """What becomes of a request whose adapter is in no slot that it could use at once."""

    WAIT = "wait"
    REJECT = "reject"
    FALLBACK = "fallback"
    """An earlier revision answers, or the base model, and the answer says so."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What one client asked for."""

    cold_start: ColdStart | None = None
    """None means as the server is set."""
    patience_s: float = 0.0
    """How long to wait for the adapter before the request is rejected or falls back."""
    begin_within_s: float | None = None
    """How long it may wait for its turn and its adapter; None means as long as it takes."""


NO_WISHES = Wishes()
"""What somebody asks for who sends neither header."""


class WishNotUnderstood(Exception):
    """A header does not have the form that it must."""

    def __init__(self, message: str, *, param: str) -> None:
        super().__init__(message)
        self.param = param
        """The name of the header."""


class TurnTooLate(Exception):
    """The request's turn, or its adapter, did not come within the time that its client set."""

    retry_after_s = 1.0

    def __init__(self, waited_s: float) -> None:
        super().__init__(
            f"The turn of the request had not come after {waited_s:g} s, which is how long it may"
            f" wait by its header {TIMEOUT_HEADER}."
        )


def parse_wishes(cold_start: str | None, timeout: str | None) -> Wishes:
    """Return what the two headers ask for; None is a header that was not sent.

    Raises:
        WishNotUnderstood: the message says which form the header has.
    """
    within_s = None if timeout is None else _seconds(timeout, TIMEOUT_HEADER)
    if cold_start is None:
        return Wishes(begin_within_s=within_s)
    what, _, after = cold_start.partition(";")
    key, _, patience = after.strip().partition("=")
    way = what.strip()
    may_wait_before = way != ColdStart.WAIT and key.strip() == "after"
    if way not in set(ColdStart) or (after and not may_wait_before):
        raise WishNotUnderstood(
            f"The header {COLD_START_HEADER} is wait, reject or fallback; the last two may add"
            " how many seconds to wait before, as in 'fallback; after=0.5'.",
            param=COLD_START_HEADER,
        )
    patience_s = _seconds(patience, COLD_START_HEADER) if after else 0.0
    return Wishes(ColdStart(way), patience_s, within_s)


def _seconds(text: str, header: str) -> float:
    try:
        seconds = float(text.strip()[:20])
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= _LONGEST_S:
        raise WishNotUnderstood(
            f"A time in the header {header} is a number of seconds above 0 and at most"
            f" {_LONGEST_S:g}, as in 2.5.",
            param=header,
        )
    return seconds
