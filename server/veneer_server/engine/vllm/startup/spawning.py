"""What a process of the engine runs first, in place of the gateway's own main module.

A process that is spawned runs its parent's main module again. That of the gateway imports every
command, which no engine needs. From here until ``plugin.install`` nothing is collected: until then
a process does little but import.
"""

import gc
import importlib.util
import multiprocessing
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from veneer_server.engine.vllm.startup import spare

_SPAWNED = "__mp_main__"
"""The name that Python gives the main module of a process that was spawned."""


@contextmanager
def spawning(*, spare_worker: bool) -> Iterator[None]:
    """Let every process that is spawned in the block begin here; those that it spawns do so too.

    ``spare_worker`` says whether an engine core among them begins its worker early.
    """
    main = sys.modules["__main__"]
    before, main.__spec__ = main.__spec__, importlib.util.find_spec(__name__)
    os.environ[spare.WANTED] = spare.CORE if spare_worker else ""
    try:
        yield
    finally:
        main.__spec__ = before


def begun() -> None:
    """Collect again, in a process that began here; what it has imported is exempt for good."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


if __name__ == _SPAWNED:
    gc.disable()
    spare.begin_worker(multiprocessing.current_process().name)
