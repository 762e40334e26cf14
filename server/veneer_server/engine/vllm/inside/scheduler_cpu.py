"""vLLM's scheduler with steps that are bounded by their work. Only vLLM imports this file."""

import time
from itertools import islice
from typing import Any

from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.request import Request

from veneer_server.engine.vllm.inside.step_work import StepPace, StepWork, even_position


class WorkBoundScheduler(Scheduler):
    """vLLM's own scheduler, whose two bounds on a step are chosen anew before each step."""

    max_num_scheduled_tokens: int

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._work = StepWork(
            prompt_tokens=self.scheduler_config.long_prefill_token_threshold,
            tokens=self.max_num_scheduled_tokens,
            even_at=_even_position(self.vllm_config.model_config),
        )
        self._pace = StepPace()
        self._begun: tuple[SchedulerOutput, float, float] | None = None

    def schedule(self, *args: Any, **more: Any) -> SchedulerOutput:
        """Choose what the next step computes, as vLLM does, within bounds by work."""
        prompts = [r.num_computed_tokens for r in self.running if _is_prompt(r)]
        decoding = len(self.running) - len(prompts)
        if len(self.running) < self.max_num_running_reqs:
            # How much of the next one the prefix cache has is not known yet: its first step is
            # as small as if that were all.
            prompts += [r.num_tokens for r in islice(self.waiting, 1)]
        bounds = self._work.beside(decoding, prompts, self._pace.affordable)
        self.scheduler_config.long_prefill_token_threshold = bounds.prompt_tokens
        self.max_num_scheduled_tokens = bounds.tokens
        step = super().schedule(*args, **more)
        self._begun = (step, self._work_of(step), time.perf_counter()) if decoding else None
        return step

    def update_from_output(self, scheduler_output: SchedulerOutput, *args: Any) -> Any:
        """Take what the step computed, as vLLM does; remember how long it took beside streams."""
        if self._begun is not None and self._begun[0] is scheduler_output:
            self._pace.took(self._begun[1], time.perf_counter() - self._begun[2])
        return super().update_from_output(scheduler_output, *args)

    def _work_of(self, step: SchedulerOutput) -> float:
        """Return the work of the prompts in ``step``; a stream has one token in it."""
        counts = {key: n for key, n in step.num_scheduled_tokens.items() if n > 1}
        # vLLM has counted the step's tokens as computed already.
        begins = [self.requests[key].num_computed_tokens - n for key, n in counts.items()]
        return self._work.of(list(counts.values()), begins)


def _is_prompt(request: Request) -> bool:
    return request.num_computed_tokens + 1 < request.num_tokens


def _even_position(model: Any) -> float:
    hidden = model.get_hidden_size()
    return even_position(
        hidden=hidden,
        inner=getattr(model.hf_text_config, "intermediate_size", None) or 4 * hidden,
        heads=model.model_arch_config.total_num_attention_heads,
        kv_heads=model.get_total_num_kv_heads(),
        head_size=model.get_head_size(),
    )
