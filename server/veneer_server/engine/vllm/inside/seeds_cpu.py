"""Seeds of prompts that a CPU computes in several steps.

vLLM 0.32 samples after every step, also where a prompt goes on in the next one, and then sets the
offset of the request's generator back. A generator of a CPU has no offset: the step raises, and
the engine ends with all of its requests. A prompt that goes on needs no token, so it leaves its
generator out of the step, and the answer does not depend on the number of steps.
"""

from typing import Any

from vllm.v1.worker.cpu_model_runner import CPUModelRunner

_MARK = "veneer_stock_sample_tokens"


def keep_seeds() -> None:
    """Make vLLM's runner sample without the seeds of unfinished prompts; twice does nothing."""
    if hasattr(CPUModelRunner, _MARK):
        return
    stock = CPUModelRunner.sample_tokens

    def sample_tokens(self: Any, *args: Any) -> Any:
        generators = self.input_batch.generators
        left_out = {i: generators.pop(i) for i in _unfinished(self) if i in generators}
        try:
            return stock(self, *args)
        finally:
            generators.update(left_out)

    setattr(CPUModelRunner, _MARK, stock)
    CPUModelRunner.sample_tokens = sample_tokens


def _unfinished(runner: Any) -> list[int]:
    going_on = runner.discard_request_mask.np[: runner.input_batch.num_reqs]
    return [int(i) for i in going_on.nonzero()[0]]
