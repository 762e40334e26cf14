"""How long a body may take to arrive.

Bodies are small and networks are not all fast, so a body gets some seconds, and more as it comes. A
client that sends a byte now and then is so told apart from a slow line.
"""

import asyncio
from collections.abc import Callable

from veneer_server.api.errors import BodyTooSlow
from veneer_server.settings import LimitSettings


def allowed_s(received: int, limits: LimitSettings) -> float:
    """Return how many seconds a body may take of which so many bytes are there."""
    return limits.body_timeout_s + received / limits.body_bytes_per_s


class BodyClock:
    """Runs while a body arrives. Time in which the server itself does not read does not count."""

    def __init__(
        self,
        limits: Callable[[], LimitSettings],
        is_held: Callable[[], bool],
        on_late: Callable[[BodyTooSlow], None],
    ) -> None:
        """Call ``on_late`` for a body that takes too long while ``is_held`` is false."""
        self._limits = limits
        self._is_held = is_held
        self._on_late = on_late
        self._received = 0
        self._began_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def run(self) -> None:
        """Let the clock run, if it does not run yet."""
        if self._timer is None:
            self._restart()

    def part(self, size: int) -> None:
        """Count bytes of the body that arrived."""
        self._received += size

    def stop(self) -> None:
        """End the clock: the body is there, or nobody waits for it any more."""
        self._received = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _restart(self) -> None:
        self._began_s, self._received = asyncio.get_running_loop().time(), 0
        self._look_later()

    def _look_later(self) -> None:
        due_s = self._began_s + allowed_s(self._received, self._limits())
        self._timer = asyncio.get_running_loop().call_at(due_s, self._look)

    def _look(self) -> None:
        limits = self._limits()
        took_s = asyncio.get_running_loop().time() - self._began_s
        if self._is_held():
            self._restart()
        elif took_s < allowed_s(self._received, limits):
            self._look_later()
        else:
            self._on_late(
                BodyTooSlow(
                    f"The body did not arrive in time. It may take {limits.body_timeout_s:g}"
                    f" seconds, and one more for each {limits.body_bytes_per_s} bytes."
                )
            )
