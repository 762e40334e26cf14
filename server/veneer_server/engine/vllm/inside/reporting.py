"""Makes vLLM's workers report the stages of their start, and test their kernels on a GPU.

The kernels are tested when the weights are there and before graphs are captured: a graph keeps the
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
    from vllm.platforms import current_platform
    from vllm.v1.worker.worker_base import WorkerWrapperBase

    build = WorkerWrapperBase.init_worker
    if getattr(build, "reports", False):
        return

    @wraps(build)
    def reporting(self: Any, *args: Any, **kwargs: Any) -> None:
        build(self, *args, **kwargs)
        for method, stage in _STAGES.items():
            setattr(self.worker, method, _reported(getattr(self.worker, method), stage))
        if current_platform.is_cuda():
            self.worker.load_model = _tested(self.worker)

    reporting.reports = True  # type: ignore[attr-defined]
    WorkerWrapperBase.init_worker = reporting


def _tested(worker: Any) -> Callable[..., Any]:
    load = worker.load_model

    @wraps(load)
    def load_and_test(*args: Any, **kwargs: Any) -> Any:
        loaded = load(*args, **kwargs)
        report(Stage.KERNELS)
        worker.veneer_test_kernels()
        return loaded

    return load_and_test


def _reported(act: Callable[..., Any], stage: Stage) -> Callable[..., Any]:
    @wraps(act)
    def reported(*args: Any, **kwargs: Any) -> Any:
        report(stage)
        return act(*args, **kwargs)

    return reported
