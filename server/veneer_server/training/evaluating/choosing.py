"""Which held-out examples are measured with, and what the model is asked for each."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from veneer_server.training.rows.examples import Example, cut

T = TypeVar("T")
LONGEST = 2048
"""Tokens of the longest example that is measured. An engine computes the whole vocabulary for each
token of a prompt at once: for 128,000 words and 2,048 tokens that is 1 GiB in fp32."""
_LONGEST_ANSWER = 512
_MORE = 64
"""Tokens that an answer may have beside twice those of the right one."""


def chosen(items: Iterable[T], count: int, most: int) -> list[T]:
    """Return at most ``most`` of ``count`` items, evenly spread, always the same ones."""
    if count <= most:
        return list(items)
    wanted = {at * count // most for at in range(most)}
    return [item for at, item in enumerate(items) if at in wanted]


def scorable(example: Example, most_tokens: int) -> Example | None:
    """Return the example with room for one more token.

    None when it is too long to be measured beside live requests, or nothing that counts is left.
    """
    if len(example.ids) > LONGEST:
        return None
    kept = cut(example, most_tokens - 1)
    return kept if kept.learned and kept.spans[0][0] > 0 else None


def to_scoring(example: Example) -> dict[str, Any]:
    """Return the body of the completion that tells how likely each token of ``example`` was."""
    asked = {"prompt_logprobs": 0, "max_tokens": 1, "temperature": 0}
    return {"prompt": list(example.ids), **asked}


@dataclass(frozen=True, slots=True)
class Question:
    """The last answer of an example, and what comes before it."""

    before: Sequence[int]
    wanted: Sequence[int]
    """The right answer, without the token that ends it."""


def to_question(example: Example, stops: Sequence[int]) -> Question:
    """Return what the model is asked to see whether it answers as ``example`` does."""
    start, end = example.spans[-1]
    ids = list(example.ids)
    wanted = ids[start:end]
    while wanted and wanted[-1] in stops:
        wanted.pop()
    return Question(ids[:start], wanted)


def to_answering(question: Question, most_tokens: int) -> dict[str, Any]:
    """Return the body of the completion that answers ``question``."""
    room = most_tokens - len(question.before)
    length = max(min(2 * len(question.wanted) + _MORE, _LONGEST_ANSWER, room), 1)
    # Tool calls stand between special tokens; the one that ends the answer is never shown.
    asked = {"max_tokens": length, "temperature": 0, "skip_special_tokens": False}
    return {"prompt": list(question.before), **asked}
