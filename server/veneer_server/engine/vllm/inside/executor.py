"""An executor that waits almost without spinning, because the worker needs the cores."""

from vllm.v1.executor import multiproc_executor
from vllm.v1.executor.multiproc_executor import MultiprocExecutor

from veneer_server.engine.vllm.startup.spare import taking_spare

_SPIN_S = 0.003
"""Seconds to spin: longer than the gap between the two answers of one step, and much shorter than
a step."""


class PatientExecutor(MultiprocExecutor):
    """vLLM's executor for worker processes, changed so that it sleeps while a step is computed.

    After each answer, vLLM's own executor spins for a second, so in practice it always spins. It
    takes a core from a worker that computes on every core. docs/adr/0008 has the figures. Some
    spinning is needed: of two wake-ups that follow each other closely, vLLM's queue drops the
    second one.
    """

    def _init_executor(self) -> None:
        with taking_spare(multiproc_executor):
            super()._init_executor()
        for queue in self.response_mqs:
            queue._spin_condition.busy_loop_s = _SPIN_S
