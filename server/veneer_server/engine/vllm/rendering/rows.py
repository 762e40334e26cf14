"""Conversations and texts as tokens, for training: by the calls with which requests are read."""

import copy
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from vllm.entrypoints.serve.tokenize.protocol import TokenizeChatRequest, TokenizeCompletionRequest
from vllm.exceptions import VLLMClientError

from veneer_server.engine.base import NotSupported


class RowRenderer:
    """Renders and tokenizes with vLLM's ``renderer``, as a chat and a completion are.

    The steps are those of vLLM's ``OnlineRenderer.preprocess_chat``, which gives no text away.
    """

    def __init__(self, renderer: Any, *, chat_template: str | None, content_format: str) -> None:
        self._renderer = renderer
        self._chat_template = chat_template
        self._content_format: Any = content_format

    @cached_property
    def stops(self) -> list[int]:
        """Return the tokens that end an answer; the tokenizer's own comes first."""
        own = self._renderer.get_eos_token_id()
        more = self._renderer.model_config.try_get_generation_config().get("eos_token_id")
        found = dict.fromkeys([own, *(more if isinstance(more, list) else [more])])
        return [token for token in found if token is not None]

    async def text(
        self, messages: Sequence[dict[str, Any]], tools: Sequence[dict[str, Any]], *, ask: bool
    ) -> str:
        """Return what the template writes; with ``ask`` it ends where an answer begins.

        Raises:
            ValueError: the template refuses the messages or the tools.
            NotSupported: the model's requests are not written by a template.
        """
        # vLLM writes into the messages: it parses the arguments of tool calls in place.
        request = TokenizeChatRequest(
            messages=copy.deepcopy(list(messages)),
            tools=list(tools) or None,
            add_generation_prompt=ask,
        )
        offered = None if request.tools is None else [tool.model_dump() for tool in request.tools]
        params = request.build_chat_params(self._chat_template, self._content_format)
        wanted = params.with_defaults({"tools": offered, "tokenize": False})
        try:
            _, prompt = await self._renderer.render_messages_async(request.messages, wanted)
        except VLLMClientError as error:
            raise ValueError(str(error)) from error
        text = prompt.get("prompt")
        if not isinstance(text, str):
            raise NotSupported("This model's conversations are not written as text.")
        return text

    async def tokens(self, text: str, *, special: bool = False) -> list[int]:
        """Return the text's tokens; with ``special`` also those that the tokenizer adds."""
        request = TokenizeCompletionRequest(prompt=text, add_special_tokens=special)
        params = request.build_tok_params(self._renderer.model_config)
        found = await self._renderer.tokenize_prompt_async({"prompt": text}, params)
        return list(found["prompt_token_ids"])
