"""What is noted of one request while it runs: when its tokens came, how many, how it ended."""

from collections.abc import Callable


class Observation:
    """One request being counted; ends as ``failed`` unless told otherwise."""

    def __init__(
        self,
        began_s: float,
        clock: Callable[[], float],
        *,
        first: Callable[[float], None],
        next_: Callable[[float], None],
    ) -> None:
        """Note a request that began at ``began_s`` on ``clock``.

        ``first`` gets the seconds to the first token, ``next_`` those between two.
        """
        self._began_s = began_s
        self._clock = clock
        self._first = first
        self._next = next_
        self._last_s: float | None = None
        self.outcome = "failed"
        self.ttft_s: float | None = None
        """Seconds until the first token of a stream."""
        self.input_tokens = 0
        self.output_tokens = 0

    def token(self) -> None:
        """A part of the stream with at least one token is there."""
        now_s = self._clock()
        if self._last_s is None:
            self.ttft_s = now_s - self._began_s
            self._first(self.ttft_s)
        else:
            self._next(now_s - self._last_s)
        self._last_s = now_s
        self.output_tokens += 1

    def used(self, input_tokens: int, output_tokens: int) -> None:
        """The engine's own count replaces what was counted so far; it counts in parts, too."""
        self.input_tokens = input_tokens or self.input_tokens
        self.output_tokens = output_tokens or self.output_tokens

    def completed(self) -> None:
        """The client got a whole answer."""
        self.outcome = "completed"

    def rejected(self) -> None:
        """The engine refused what the client asked: the fault is not the server's."""
        self.outcome = "rejected"

    def cancelled(self) -> None:
        """The client left, or the server could wait no longer."""
        self.outcome = "cancelled"
