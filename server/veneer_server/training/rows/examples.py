"""From rows to token ids, exactly as the server would be asked and would have answered.

A conversation is rendered for each of its answers apart, because a template may write a message
differently when others follow. The prompt is tokenized without the answer, as the server does it.
Where a later prompt begins with just the tokens of an earlier prompt and answer, one example
holds both.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from veneer_server.training.rows.faults import InvalidRow
from veneer_server.training.rows.messages import Message, weight_of
from veneer_server.training.rows.rows import ChatRow, CompletionRow, PreferenceRow, Row


@dataclass(frozen=True, slots=True)
class Example:
    """Token ids, and which of them count in the loss: spans from a start to before an end."""

    ids: Sequence[int]
    spans: tuple[tuple[int, int], ...]

    @property
    def learned(self) -> int:
        """Return how many tokens count in the loss."""
        return sum(end - start for start, end in self.spans)


class Renderer(Protocol):
    """The tokenizer and the chat template with which the server reads requests."""

    @property
    def stops(self) -> Sequence[int]:
        """Return the tokens that end an answer; the first is the tokenizer's own."""

    async def text(
        self, messages: Sequence[Message], tools: Sequence[dict[str, Any]], *, ask: bool
    ) -> str:
        """Return what the template writes; with ``ask`` it ends where an answer begins.

        Raises:
            ValueError: the template refuses the messages or the tools.
        """

    async def tokens(self, text: str, *, special: bool = False) -> list[int]:
        """Return the text's tokens; with ``special`` also those that the tokenizer adds."""


async def examples_of(row: Row, renderer: Renderer) -> list[Example]:
    """Return what is learned from ``row``; of preferences the better and the other answer.

    Raises:
        InvalidRow: the template cannot write the row.
    """
    if isinstance(row, CompletionRow):
        return [await _completion(row, renderer)]
    if isinstance(row, PreferenceRow):
        turns = [[*row.messages, *output] for output in (row.preferred, row.other)]
        last = len(row.messages)
        return [await _answer(turn, last, row.tools, renderer) for turn in turns]
    return await _conversation(row, renderer)


def cut(example: Example, most: int) -> Example:
    """Return the first ``most`` tokens of an example."""
    spans = tuple((start, min(end, most)) for start, end in example.spans if start < most)
    return replace(example, ids=example.ids[:most], spans=spans)


async def _conversation(row: ChatRow, renderer: Renderer) -> list[Example]:
    found: list[Example] = []
    for index, message in enumerate(row.messages):
        if message["role"] == "assistant" and weight_of(message):
            example = await _answer(row.messages, index, row.tools, renderer)
            _join(found, example)
    return found


def _join(found: list[Example], new: Example) -> None:
    if found and new.ids[: len(found[-1].ids)] == found[-1].ids:
        new = replace(new, spans=(*found[-1].spans, *new.spans))
        found.pop()
    found.append(new)


async def _answer(
    messages: Sequence[Message], index: int, tools: Sequence[dict[str, Any]], renderer: Renderer
) -> Example:
    shown = [_served(message) for message in messages[: index + 1]]
    try:
        prompt = await renderer.text(shown[:index], tools, ask=True)
        whole = await renderer.text(shown, tools, ask=False)
    except ValueError as error:
        raise InvalidRow(f"the chat template cannot write it: {error}") from error
    if not whole.startswith(prompt):
        raise InvalidRow(
            f"the chat template writes messages[{index}] differently from how it asks for it"
        )
    answer = whole[len(prompt) :]
    _require_written(prompt, [tool["function"]["name"] for tool in tools], "'tools'")
    calls = shown[index].get("tool_calls", ())
    _require_written(answer, [call["function"]["name"] for call in calls], "tool calls")
    return await _example(await renderer.tokens(prompt), answer, renderer)


async def _completion(row: CompletionRow, renderer: Renderer) -> Example:
    prompt = await renderer.tokens(row.prompt, special=True)
    if not prompt:
        raise InvalidRow("'prompt' has no tokens, so no request could ask for the completion")
    return await _example(prompt, row.completion, renderer)


async def _example(prompt: Sequence[int], answer: str, renderer: Renderer) -> Example:
    ended = _ended(await renderer.tokens(answer), renderer.stops)
    ids = (*prompt, *ended)
    return Example(ids, ((len(prompt), len(ids)),))


def _ended(answer: list[int], stops: Sequence[int]) -> list[int]:
    """Return the answer up to the last token that ends one; what follows is never generated."""
    last = max((at for at, token in enumerate(answer) if token in stops), default=None)
    return [*answer, *stops[:1]] if last is None else answer[: last + 1]


def _served(message: Message) -> Message:
    return {key: value for key, value in message.items() if key != "weight"}


def _require_written(text: str, names: Collection[str], what: str) -> None:
    if missing := [name for name in names if name not in text]:
        raise InvalidRow(f"the base model's chat template does not write {what}: {missing[0]!r}")
