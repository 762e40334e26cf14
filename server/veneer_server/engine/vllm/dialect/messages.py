"""Anthropic's messages by vLLM's handler, with what that leaves out.

Anthropic continues the last message when it is the assistant's; vLLM begins a new one.
"""

import json
from typing import Any

from vllm.entrypoints.anthropic.serving import AnthropicServingMessages
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest

from veneer_server.engine.vllm.dialect.whole import HonestEnds, so_far


class Messages(HonestEnds, AnthropicServingMessages):
    """vLLM's handler; a last message of the assistant is the beginning of the answer."""

    @classmethod
    def to_chat_completion_request(cls, *args: Any, **more: Any) -> ChatCompletionRequest:
        """Return the chat request that the engine answers in place of Anthropic's."""
        request = super().to_chat_completion_request(*args, **more)
        if _is_begun(request.messages[-1:]):
            request.continue_final_message, request.add_generation_prompt = True, False
        return request

    def messages_full_converter(self, generator: Any) -> Any:
        """Return the message; of a call that was cut off it has what can be read so far."""
        for call in generator.choices[0].message.tool_calls:
            call.function.arguments = json.dumps(so_far(call.function.arguments))
        return super().messages_full_converter(generator)


def _is_begun(last: list[Any]) -> bool:
    return any(
        message["role"] == "assistant" and message.get("content") and not message.get("tool_calls")
        for message in last
    )
