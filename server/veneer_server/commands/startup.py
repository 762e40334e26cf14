"""What the terminal shows while a server starts: the stage that is under way, and their times."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from rich.console import Console

from veneer_server.engine.stages import Stage, Stages

_DOING = {
    Stage.MODEL: "Looking at the model and the adapters",
    Stage.ENGINE: "Starting the engine's processes",
    Stage.WEIGHTS: "Loading the weights",
    Stage.KERNELS: "Compiling the kernels for adapters (up to a minute the first time)",
    Stage.COMPILE: "Compiling the model, measuring memory",
    Stage.GRAPHS: "Capturing graphs",
    Stage.WARM_UP: "Running every kind of request once",
    Stage.ADAPTERS: "Verifying and loading adapters",
}
_SHOWN_S = 0.05
"""Shorter stages are left out of the sum: here the engine has nothing to do in them."""


class Startup:
    """Shows one start on ``console``: in place on a terminal, else a line for each stage."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status = console.status("Starting ...")
        self.stages = Stages(self._show)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._status.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.stop()

    def say(self, lines: Sequence[str]) -> None:
        """Print ``lines``."""
        for line in lines:
            self._console.print(line, soft_wrap=True, markup=False, highlight=False)

    def stop(self) -> None:
        """Show nothing more in place; twice is safe."""
        self._status.stop()

    def end(self) -> None:
        """Print how long the start took, stage by stage."""
        self.stop()
        self.say([to_sum(self.stages.took_s(), self.stages.total_s())])

    def _show(self, stage: Stage) -> None:
        if self._console.is_terminal:
            self._status.update(f"{_DOING[stage]} ...")
        else:
            self.say([f"{_DOING[stage]} ..."])


def to_sum(took_s: Mapping[Stage, float], total_s: float) -> str:
    """Return the line that says how long a start took."""
    parts = [f"{stage} {s:.1f} s" for stage, s in took_s.items() if s >= _SHOWN_S]
    return f"Started in {total_s:.1f} s ({', '.join(parts)})."
