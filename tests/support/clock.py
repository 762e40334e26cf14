"""Time passes when the test says so: no timer races a busy machine."""

import asyncio


def forward(seconds: float) -> None:
    """Let ``seconds`` pass on the running loop at once: what was due by then happens next."""
    loop = asyncio.get_running_loop()
    time = loop.time
    loop.time = lambda: time() + seconds  # type: ignore[method-assign]


class Clock:
    """A clock for who asks for one: it stands still until the test moves it."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass."""
        self.now_s += seconds
