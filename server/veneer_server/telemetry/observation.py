"""What the server counts of one request: when its tokens came, how many, and how it ended.

The time to first token runs from when the server has resolved the model's name until the first
event of a stream that carries at least one token.
"""

from collections.abc import Callable


class Observation:
    """The counts of one request; its outcome is ``failed`` unless a method sets another one."""

    def __init__(
        self,
        began_s: float,
        clock: Callable[[], float],
        *,
        first: Callable[[float], None],
        next_: Callable[[float], None],
    ) -> None:
        """Begin to count a request that was accepted at ``began_s`` on ``clock``.

        ``first`` gets the seconds until the first event with a token, ``next_`` the seconds
        between two such events.
        """
        self._began_s = began_s
        self._clock = clock
        self._first = first
        self._next = next_
        self._last_s: float | None = None
        self.outcome = "failed"
        self.ttft_s: float | None = None
        """Seconds until the first event with a token; None before it, and without a stream."""
        self.input_tokens = 0
        self.output_tokens = 0
        self.cached_tokens = 0
        """Those of the input that came from the engine's cache."""
        self.cold_start_s = 0.0
        """Seconds that the request waited for a fetch and a load."""
        self.queue_s = 0.0
        """Seconds until the engine got the request, without the wait for a load."""

    def token(self) -> None:
        """Count an event of the stream that carries at least one token."""
        now_s = self._clock()
        if self._last_s is None:
            self.ttft_s = now_s - self._began_s
            self._first(self.ttft_s)
        else:
            self._next(now_s - self._last_s)
        self._last_s = now_s
        self.output_tokens += 1

    def elapsed_s(self) -> float:
        """Return the seconds since the request was accepted."""
        return self._clock() - self._began_s

    def asked(self, *, fetch_s: float, load_s: float) -> None:
        """Note that the engine gets the request now, after a ``fetch_s`` and a ``load_s``."""
        self.cold_start_s = fetch_s + load_s
        self.queue_s = max(self.elapsed_s() - load_s, 0.0)

    def used(self, input_tokens: int, output_tokens: int, cached_tokens: int = 0) -> None:
        """Replace the counts by the engine's own; a 0 leaves the count as it is.

        Some endpoints send the two numbers in different events.
        """
        self.input_tokens = input_tokens or self.input_tokens
        self.output_tokens = output_tokens or self.output_tokens
        self.cached_tokens = cached_tokens or self.cached_tokens

    def completed(self) -> None:
        """Set the outcome: the answer is complete."""
        self.outcome = "completed"

    def rejected(self) -> None:
        """Set the outcome: the engine refused the request, which is not the server's fault."""
        self.outcome = "rejected"

    def cancelled(self) -> None:
        """Set the outcome: the client left, or the drain deadline passed."""
        self.outcome = "cancelled"
