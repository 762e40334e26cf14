"""Makes vLLM's workers report the stages of their start, and prove their kernels.

The kernels are proved when the weights are there and before graphs are captured: a graph keeps the
kernels that it was captured with.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

from veneer_server.engine.stages import Stage
from veneer_server.engine.vllm.startup.reports import report

_STAGES = {
    "load_model": Stage.WEIGHTS,
    # Both take no time where nothing is compiled and no graph is captured, as on a CPU.
    "determine_available_memory": Stage.COMPILE,
    "compile_or_warm_up_model": Stage.GRAPHS,
}
"""Methods of vLLM's worker, and the stage that each is."""


def report_workers() -> None:
    """Make every worker that vLLM builds in this process report its stages; twice is safe."""
    from vllm.v1.worker.worker_base import WorkerWrapperBase

    # Not ``init_worker``, which is under way when it loads this plugin.
    begin = WorkerWrapperBase.init_device
    if getattr(begin, "reports", False):
        return

    @wraps(begin)
    def reporting(self: Any) -> None:
        for method, stage in _STAGES.items():
            setattr(self.worker, method, _reported(getattr(self.worker, method), stage))
        self.worker.load_model = _then_proved(self.worker)
        begin(self)

    reporting.reports = True  # type: ignore[attr-defined]
    WorkerWrapperBase.init_device = reporting


def _then_proved(worker: Any) -> Callable[..., Any]:
    load = worker.load_model

    @wraps(load)
    def load_and_prove(*args: Any, **kwargs: Any) -> Any:
        loaded = load(*args, **kwargs)
        report(Stage.KERNELS)
        worker.veneer_prove_kernels()
        return loaded

    return load_and_prove


def _reported(act: Callable[..., Any], stage: Stage) -> Callable[..., Any]:
    @wraps(act)
    def reported(*args: Any, **kwargs: Any) -> Any:
        report(stage)
        return act(*args, **kwargs)

    return reported
