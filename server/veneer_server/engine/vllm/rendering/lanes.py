"""Where vLLM's renderer works: much text in a thread of its own, so that little text does not wait.

vLLM renders and tokenizes in one thread. A text at the limit of a context takes seconds, and every
other request would wait that long before the engine hears of it.
"""

from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")

THREADS = 2
_LITTLE_CHARS = 8192
"""Of so much text a tokenizer makes tokens in a few milliseconds."""


class Lanes(Executor):
    """Runs calls in two threads, by how much text is in their arguments."""

    def __init__(self) -> None:
        self._little = ThreadPoolExecutor(1, thread_name_prefix="little-text")
        self._much = ThreadPoolExecutor(1, thread_name_prefix="much-text")

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Run ``fn`` behind the calls that are as large."""
        lane = self._little if characters_of(fn) <= _LITTLE_CHARS else self._much
        return lane.submit(fn, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End both threads."""
        for lane in (self._little, self._much):
            lane.shutdown(wait, cancel_futures=cancel_futures)


def characters_of(call: Any) -> int:
    """Return how many characters the texts in a prepared call's arguments have."""
    return _count(list(call.args)) if isinstance(call, partial) else 0


def _count(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(map(_count, value.values()))
    if isinstance(value, list):
        return len(value) if value and isinstance(value[0], int) else sum(map(_count, value))
    return 0


def give_lanes(renderer: Any) -> None:
    """Let ``renderer``, one of vLLM's, work in lanes, also after it gave a stuck thread up."""
    executor = renderer._executor  # vLLM's functions hold this object; what is in it may change

    def replace() -> None:
        executor.shutdown(wait=False)
        executor._inner = Lanes()

    replace()
    executor.replace_inner = replace
