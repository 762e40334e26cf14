"""SIGTERM and SIGINT pause a run, also in the middle of a step that takes long.

A thread of its own waits for the signals. Python's handlers would wait for the end of a backward
pass, which can take many seconds; the weights are those of the last step all the while, so this
thread can save them.
"""

import os
import signal
import threading
import traceback
from collections.abc import Callable

_SIGNALS = {signal.SIGTERM, signal.SIGINT}


class Stopper:
    """Ends the process when it is asked to, with exit code 0.

    ``steady`` is held while weights or files change; the process never ends meanwhile. Whoever
    takes it for good cannot be stopped any more.
    """

    def __init__(self, pause: Callable[[], None]) -> None:
        """``pause`` saves what the run goes on from; it may be replaced while the run goes on."""
        self.steady = threading.Lock()
        self.pause = pause

    def watch(self) -> None:
        """Begin to wait for the signals; every later thread of this process leaves them alone."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        threading.Thread(target=self._wait, name="stopper", daemon=True).start()

    def _wait(self) -> None:
        signal.sigwait(_SIGNALS)
        with self.steady:
            try:
                self.pause()
            except Exception:  # what a full disk or a lost folder raises must not be lost
                traceback.print_exc()
                os._exit(1)
            # At once: the main thread may be in a step that takes seconds.
            os._exit(0)
