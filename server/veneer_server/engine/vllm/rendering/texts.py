"""A text with far more tokens than fit is refused before all of it is made into tokens.

A tokenizer takes seconds for a million characters, on a core that the engine needs. At the end it
frees what it noted of each token, and holds the interpreter's lock meanwhile.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

_SLICE_CHARS = 32768
_CHARS_PER_TOKEN = 6
"""Prose has four to five, so that what fits is hardly ever made into tokens twice."""


def cut(text: str, most: int, count: Callable[[str], int]) -> str:
    """Return ``text``, or a beginning of it that has more than ``most`` tokens as well.

    ``count`` returns how many tokens a text has.
    """
    if len(text) <= most * _CHARS_PER_TOKEN:
        return text
    # A slice may have some tokens more than the same characters have within the text.
    enough, found = most + most // 4 + 16, 0
    for end in range(_SLICE_CHARS, len(text), _SLICE_CHARS):
        found += count(text[end - _SLICE_CHARS : end])
        if found > enough:
            return text[:end]
    return text


def refuse_early(renderer: Any) -> None:
    """Let ``renderer``, one of vLLM's, see no more of a text than it needs to refuse it."""
    tokenize = renderer._tokenize_prompt

    def tokenize_or_refuse(prompt: Any, params: Any) -> Any:
        most = params.max_input_tokens
        if most is not None and params.truncate_prompt_tokens is None:
            count = partial(_count, renderer.get_tokenizer(), most)
            prompt = {**prompt, "prompt": cut(prompt["prompt"], most, count)}
        return tokenize(prompt, params)

    def beside_the_loop(prompt: Any, params: Any) -> asyncio.Future[Any]:
        work = partial(tokenize_or_refuse, prompt, params)
        return asyncio.get_running_loop().run_in_executor(renderer._executor, work)

    renderer._tokenize_prompt_async = beside_the_loop


def _count(tokenizer: Any, most: int, text: str) -> int:
    found = tokenizer(text, add_special_tokens=False, truncation=True, max_length=2 * most)
    return len(found["input_ids"])
