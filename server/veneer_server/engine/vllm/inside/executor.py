"""The engine core waits for its worker almost without spinning: the cores are the worker's."""

from vllm.v1.executor.multiproc_executor import MultiprocExecutor

_SPIN_S = 0.003
"""Longer than the gap between the two answers of one step, much shorter than a step."""


class PatientExecutor(MultiprocExecutor):
    """vLLM's executor for worker processes, which sleeps while a step is computed.

    vLLM's own looks for the answer in a busy loop for a second after each one, and so all
    the time: it takes a core from a worker that computes on every core. docs/adr/0008 has
    the figures. Without any spinning a wake-up can be lost, since vLLM's queue drops the
    second of two that follow each other closely.
    """

    def _init_executor(self) -> None:
        super()._init_executor()
        for queue in self.response_mqs:
            queue._spin_condition.busy_loop_s = _SPIN_S
