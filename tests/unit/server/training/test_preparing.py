"""Rows become the tokens that the server would read and should answer; nothing else is learned."""

import json
from pathlib import Path
from typing import Any

import pytest

from support.rendering import LetterRenderer
from support.training_rows import called, chat, numbered, preference, preferences, said, write
from veneer_server.training.rows.checking import check
from veneer_server.training.rows.examples import Example, cut, examples_of
from veneer_server.training.rows.faults import InvalidTrainingFile
from veneer_server.training.rows.holding import held_out
from veneer_server.training.rows.preparing import (
    Places,
    Prepared,
    prepare,
    read_examples,
    read_rows,
)
from veneer_server.training.rows.rows import ChatRow, CompletionRow, Method, PreferenceRow


def texts(example: Example) -> list[str]:
    """Return the whole text of an example, and then each part that is learned."""
    whole = "".join(map(chr, example.ids))
    return [whole, *(whole[start:end] for start, end in example.spans)]


async def conversation(*messages: dict[str, Any]) -> list[list[str]]:
    found = await examples_of(ChatRow(list(messages), []), LetterRenderer())
    return [texts(example) for example in found]


async def prepared(
    tmp_path: Path, *rows: Any, renderer: LetterRenderer | None = None, most_tokens: int = 1000
) -> Prepared:
    checked = check(write(tmp_path / "rows.jsonl", [*rows, *numbered(10)]), Method.SUPERVISED)
    places = Places(tmp_path / "train.jsonl", tmp_path / "valid.jsonl")
    return await prepare(checked, renderer or LetterRenderer(), places, most_tokens=most_tokens)


async def test_an_answer_is_learned_up_to_its_end_and_the_prompt_is_not() -> None:
    assert await conversation(said("user", "q"), said("assistant", "a")) == [
        ["user: q$\nassistant: a$", "a$"]
    ]


async def test_a_conversation_is_one_example_when_the_template_only_appends() -> None:
    talk = [said("user", "q"), said("assistant", "a"), said("user", "r"), said("assistant", "b")]
    assert await conversation(*talk) == [
        ["user: q$\nassistant: a$\nuser: r$\nassistant: b$", "a$", "b$"]
    ]


async def test_an_answer_of_weight_0_is_shown_and_not_learned() -> None:
    first = said("assistant", "a", weight=0)
    assert await conversation(said("user", "q"), first, said("user"), said("assistant", "b")) == [
        ["user: q$\nassistant: a$\nuser: hi$\nassistant: b$", "b$"]
    ]


async def test_a_template_that_changes_what_was_said_makes_an_example_of_each_answer() -> None:
    class Forgetful(LetterRenderer):
        def _message(self, message: dict[str, Any]) -> str:
            return super()._message(message).replace("<think>", "")

        async def text(self, messages: Any, tools: Any, *, ask: bool) -> str:
            earlier, last = list(messages[:-1]), list(messages[-1:])
            said = "".join(LetterRenderer._message(self, each) for each in last)
            before = await super().text(earlier, tools, ask=False)
            return before + said + ("assistant: " if ask else "")

    talk = [said("user"), said("assistant", "<think>a"), said("user"), said("assistant", "b")]
    found = await examples_of(ChatRow(talk, []), Forgetful())
    assert [texts(example)[1:] for example in found] == [["<think>a$"], ["b$"]]


async def test_tools_are_shown_and_their_calls_learned() -> None:
    row = called()
    [found] = await examples_of(ChatRow(row["messages"], row["tools"]), LetterRenderer())
    assert texts(found)[0].startswith("{add}user: hi$")
    assert texts(found)[1:] == ["<add{}>$", "three$"]


async def test_an_answer_without_an_end_gets_the_one_that_stops_the_server() -> None:
    class Endless(LetterRenderer):
        async def text(self, messages: Any, tools: Any, *, ask: bool) -> str:
            return (await super().text(messages, tools, ask=ask)).removesuffix("$\n")

    row = ChatRow([said("user", "q"), said("assistant", "a")], [])
    [found] = await examples_of(row, Endless())
    assert texts(found)[1:] == ["a$"]


async def test_a_completion_is_asked_for_with_the_tokenizers_own_tokens() -> None:
    [found] = await examples_of(CompletionRow("2+2=", "4"), LetterRenderer())
    assert texts(found) == ["\x012+2=4$", "4$"]


async def test_a_preference_makes_the_better_and_the_other_answer() -> None:
    row = preference()
    outputs = (row["preferred_output"], row["non_preferred_output"])
    found = await examples_of(
        PreferenceRow(row["input"]["messages"], [], *outputs), LetterRenderer()
    )
    assert [texts(example)[1:] for example in found] == [["good$"], ["bad$"]]


async def test_a_pair_that_is_the_same_within_the_context_is_a_fault(tmp_path: Path) -> None:
    better, other = [said("assistant", "good old")], [said("assistant", "good new")]
    row = preference(preferred_output=better, non_preferred_output=other)
    checked = check(write(tmp_path / "rows.jsonl", [row, *preferences(10)]), Method.DPO)
    places = Places(tmp_path / "train.jsonl")
    whole = await prepare(checked, LetterRenderer(), places, most_tokens=1000)
    assert (whole.trained.items(Method.DPO), whole.trained.examples) == (11, 22)
    assert [len(pair) for pair in read_rows(places.train)] == [2] * 11
    short = len("user: hi$\nassistant: good ")
    with pytest.raises(InvalidTrainingFile, match="Line 1: both outputs have the same tokens"):
        await prepare(checked, LetterRenderer(), places, most_tokens=short)


def test_an_example_that_is_cut_loses_what_was_behind() -> None:
    example = Example(tuple(range(10)), ((1, 3), (5, 8), (9, 10)))
    assert cut(example, 6) == Example(tuple(range(6)), ((1, 3), (5, 6)))
    assert cut(example, 20) == example


async def test_what_is_written_is_read_again_and_counted(tmp_path: Path) -> None:
    done = await prepared(tmp_path)
    learned = [*read_examples(tmp_path / "train.jsonl"), *read_examples(tmp_path / "valid.jsonl")]
    assert sorted(texts(example)[1] for example in learned) == [f"a{n}$" for n in range(10)]
    assert (done.trained.rows, done.held_out.rows) == (5, 5)
    assert done.trained.tokens + done.held_out.tokens == sum(len(each.ids) for each in learned)
    assert done.trained.learned == 5 * 3
    lines = (tmp_path / "train.jsonl").read_text().splitlines()
    assert all(json.loads(line)["line"] in range(1, 11) for line in lines)


async def test_rows_that_the_context_cuts_are_counted(tmp_path: Path) -> None:
    long = chat(said("user", "q"), said("assistant", "a" * 100))
    done = await prepared(tmp_path, long, most_tokens=60)
    assert done.trained.cut + done.held_out.cut == 1
    assert max(done.trained.longest, done.held_out.longest) > 100
    files = [tmp_path / "train.jsonl", tmp_path / "valid.jsonl"]
    assert max(len(example.ids) for path in files for example in read_examples(path)) == 60


async def test_a_row_of_which_nothing_is_left_is_a_fault(tmp_path: Path) -> None:
    long = chat(said("user", "q" * 100), said("assistant", "a"))
    with pytest.raises(InvalidTrainingFile, match="Line 1: it has 121 tokens, the context has 60"):
        await prepared(tmp_path, long, most_tokens=60)


async def test_a_template_that_does_not_write_tools_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(InvalidTrainingFile, match="does not write 'tools': 'add'"):
        await prepared(tmp_path, called(), renderer=LetterRenderer(writes_tools=False))


async def test_what_the_template_refuses_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(InvalidTrainingFile, match="Line 1: the chat template cannot write it: no"):
        await prepared(tmp_path, called(), renderer=LetterRenderer(refuses="tool"))


SIZES = [(10, 5), (15, 7), (16, 8), (79, 8), (100, 10), (2000, 200), (9000, 256)]


@pytest.mark.parametrize(("rows", "held"), SIZES)
def test_a_tenth_is_held_out_at_least_8_at_most_256_never_more_than_half(
    rows: int, held: int
) -> None:
    assert len(held_out([n.to_bytes(32, "big") for n in range(rows)])) == held


def test_the_same_rows_are_held_out_in_any_order_and_equal_rows_together() -> None:
    digests = [(n * 7919 % 101).to_bytes(32, "big") for n in range(101)]
    assert held_out(digests) == held_out(sorted(digests))
    assert len(held_out([*digests, *digests])) == 20
