"""Of a text that cannot fit, only a beginning is made into tokens."""

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from veneer_server.engine.vllm.rendering.texts import cut, refuse_early

MOST = 1000


class Counter:
    """A tokenizer with so many characters in each token, which notes what it is given."""

    def __init__(self, characters: int) -> None:
        self.characters = characters
        self.seen = 0

    def __call__(self, text: str) -> int:
        self.seen += len(text)
        return len(text) // self.characters


@pytest.mark.parametrize("characters", [1, 4, 20])
def test_of_a_text_that_cannot_fit_a_beginning_is_kept_that_cannot_fit_either(
    characters: int,
) -> None:
    count = Counter(characters)
    kept = cut("x" * 1_000_000, MOST, count)
    assert len(kept) == count.seen < 100_000
    assert count(kept) > MOST


def test_a_text_that_may_fit_is_kept_whole() -> None:
    text = "x" * 1_000_000
    assert cut(text, MOST, Counter(1000)) is text
    # Its slices have 1,150 tokens, but some of these may become one token where slices meet.
    assert cut(text, MOST, Counter(870)) is text


def test_a_text_with_few_characters_for_each_token_that_fits_is_not_counted() -> None:
    count = Counter(1)
    assert len(cut("x" * 6 * MOST, MOST, count)) == 6 * MOST
    assert count.seen == 0


def to_ids(text: str, max_length: int = 10**9, **_: Any) -> dict[str, list[int]]:
    """Return a token for each character, as a tokenizer of Hugging Face's does."""
    return {"input_ids": [0] * min(len(text), max_length)}


@pytest.mark.parametrize(
    ("limit", "truncate", "kept"),
    [(1000, None, 32_768), (1000, 100, 200_000), (None, None, 200_000), (180_000, None, 200_000)],
    ids=["too long", "to be truncated", "no limit", "a little too long"],
)
async def test_a_renderer_sees_the_beginning_of_a_text_that_it_will_refuse(
    limit: int | None, truncate: int | None, kept: int
) -> None:
    with ThreadPoolExecutor(1) as executor:
        renderer: Any = SimpleNamespace(
            _executor=executor,
            _tokenize_prompt=lambda prompt, _: len(prompt["prompt"]),
            get_tokenizer=lambda: to_ids,
        )
        refuse_early(renderer)
        params = SimpleNamespace(max_input_tokens=limit, truncate_prompt_tokens=truncate)
        assert await renderer._tokenize_prompt_async({"prompt": "x" * 200_000}, params) == kept
