"""Constraints on answers, without an engine: what is admitted, and what the grammar then takes."""

import json
from types import SimpleNamespace
from typing import Any

from support.asked import need
from support.places import TESTS

CORPUS = [json.loads(line) for line in (TESTS / "support" / "schemas.jsonl").open()]
"""JSON schemas of many kinds. Each has answers that keep it and answers that break it, and some
the keyword for which it is refused."""

admission = need("veneer_server.engine.vllm.constraints.admission")
backend = need("vllm.v1.structured_output.backend_guidance")
llguidance = need("llguidance")
sampling = need("vllm.sampling_params")


class Constraints:
    """The embedded model's tokenizer and an admission around it."""

    def __init__(self, *, backend_name: str = "guidance") -> None:
        from transformers import AutoTokenizer

        from veneer_server.engine.vllm import embedded

        self.tokenizer = AutoTokenizer.from_pretrained(embedded.ensure_checkpoint())
        config = SimpleNamespace(
            structured_outputs_config=SimpleNamespace(backend=backend_name),
            model_config=SimpleNamespace(get_vocab_size=lambda: len(self.tokenizer)),
        )
        self.admission = admission.Admission(config, self.tokenizer)
        self.admission.warm_up()  # as the engine's start does: nothing is refused for slowness

    async def admit(self, **asked: Any) -> Any:
        """Return the constraint as the engine gets it, or raise why it does not."""
        structured = sampling.StructuredOutputsParams(**asked)
        params = sampling.SamplingParams(structured_outputs=structured)
        await self.admission.admit(params)
        return params.structured_outputs

    def takes(self, constraint: Any, text: str) -> bool:
        """Return whether the engine could write ``text`` as the whole answer."""
        spec = backend.serialize_guidance_grammar(*backend.get_structured_output_key(constraint))
        matcher = llguidance.LLMatcher(self.admission._known, spec, log_level=0)
        tokens = self.tokenizer.encode(text, add_special_tokens=False)
        return bool(matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting())
