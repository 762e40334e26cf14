"""Python's garbage collector, and what lives as long as an engine."""

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def nothing_collected() -> Iterator[None]:
    """Collect nothing in the block, which imports much; what it makes is exempt afterwards.

    To look through it again and again takes a fifth of the time that vLLM's import takes.
    """
    if not gc.isenabled():  # a block around this one
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def exempt_what_lives() -> None:
    """Free what nobody uses any more, and exempt everything else from further collections.

    With vLLM 700,000 objects live as long as the engine. To look through them stops the event
    loop, and with it every stream, for half a second; so call this only while nobody streams.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc alone has it
    if trim is not None:
        trim(0)
