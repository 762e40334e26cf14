"""What vLLM does when llguidance gives a grammar up: it ends that request, and says that it failed.

vLLM only logs it. Then the request may end early and look complete, or go on without its grammar.
"""

from typing import Any

from vllm.v1.structured_output.backend_guidance import GuidanceBackend, GuidanceGrammar


def hold_to_grammar() -> None:
    """Make vLLM fail a request whose grammar cannot be begun or followed any further."""
    compile_grammar = GuidanceBackend.compile_grammar
    accept_tokens = GuidanceGrammar.accept_tokens

    def compiled(self: GuidanceBackend, *args: Any, **more: Any) -> Any:
        grammar = compile_grammar(self, *args, **more)
        if grammar.ll_matcher.is_error():
            raise ValueError("the grammar is too complex")
        return grammar

    def accepted(self: GuidanceGrammar, request_id: str, tokens: list[int]) -> bool:
        return accept_tokens(self, request_id, tokens) and not self.ll_matcher.is_error()

    GuidanceBackend.compile_grammar = compiled
    GuidanceGrammar.accept_tokens = accepted
