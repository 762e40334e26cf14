"""A training file is looked at whole, and each fault says the line and the reason."""

from pathlib import Path
from typing import Any

import pytest

from support.training_rows import CALL, TOOL, called, chat, numbered, preference, said, write
from veneer_server.training.rows.bounds import Bounds
from veneer_server.training.rows.checking import check, rows
from veneer_server.training.rows.faults import Fault, InvalidTrainingFile, TooFewRows
from veneer_server.training.rows.rows import ChatRow, CompletionRow, Method, PreferenceRow

GOOD = numbered(10)
COMPLETION = {"prompt": "2+2=", "completion": "4"}


def faults(
    tmp_path: Path, *wrong: Any, method: Method = Method.SUPERVISED, bounds: Bounds | None = None
) -> tuple[Fault, ...]:
    """Return the faults of a file that begins with ``wrong``."""
    with pytest.raises(InvalidTrainingFile) as error:
        check(write(tmp_path / "rows.jsonl", [*wrong, *GOOD]), method, bounds)
    return error.value.faults


TAKEN = {
    "a question and an answer": chat(),
    "roles of all kinds": chat(
        said("developer"), said("user"), said("assistant"), said("user"), said("assistant")
    ),
    "texts in parts": chat(said("user", [{"type": "text", "text": "a"}]), said("assistant")),
    "weights": chat(said("user"), said("assistant", weight=0), said("assistant", weight=1)),
    "a tool call and its result": called(),
    "a call at a time": {**called(), "parallel_tool_calls": False},
    "names": chat(said("user", name="ann"), said("assistant")),
}


@pytest.mark.parametrize("row", TAKEN.values(), ids=TAKEN)
def test_a_row_as_openai_documents_it_is_taken(tmp_path: Path, row: dict[str, Any]) -> None:
    checked = check(write(tmp_path / "rows.jsonl", [row, *GOOD]), Method.SUPERVISED)
    first = next(rows(checked)).row
    assert isinstance(first, ChatRow)
    assert first.messages == row["messages"]
    assert first.tools == row.get("tools", [])


def test_a_file_of_completions_is_taken(tmp_path: Path) -> None:
    checked = check(write(tmp_path / "rows.jsonl", [COMPLETION] * 10), Method.SUPERVISED)
    assert [each.row for each in rows(checked)] == [CompletionRow("2+2=", "4")] * 10


def test_the_earlier_names_of_preferences_are_taken_too(tmp_path: Path) -> None:
    new = preference()
    old = {
        "input": new["input"],
        "preferred_completion": new["preferred_output"],
        "non_preferred_completion": new["non_preferred_output"],
    }
    checked = check(write(tmp_path / "rows.jsonl", [new, old] * 5), Method.DPO)
    first, second = [each.row for each in rows(checked)][:2]
    assert isinstance(first, PreferenceRow)
    assert first == second


WRONG = {
    "a text": ('"x"', "expected a JSON object, not a text"),
    "a number": ("1", "expected a JSON object, not a number"),
    "NaN": ('{"messages": NaN}', "NaN"),
    "a huge number": ('{"messages": 1e999}', "too large"),
    "a key twice": ('{"messages": [], "messages": []}', "the same key twice"),
    "half a character": ('{"messages": "\\ud800"}', "half a character"),
    "deep": ("[" * 100_000, "nested too deeply"),
    "nothing known": ({"text": "x"}, "it has no 'messages'"),
    "another member": ({**chat(), "functions": []}, "a member 'functions'"),
    "no messages": ({"messages": []}, "at least one value"),
    "a message that is a text": ({"messages": ["x"]}, "'messages[0]' must be an object"),
    "an unknown role": (chat(said("bot"), said("assistant")), "'messages[0].role' is 'bot'"),
    "a role that is no text": (chat(said(["user"])), "'messages[0].role' is ['user']"),  # type: ignore[arg-type]
    "a picture": (
        chat(said("user", [{"type": "image_url", "image_url": {}}]), said("assistant")),
        "only 'text' can be trained",
    ),
    "no content": (chat(said("user", None), said("assistant")), "'messages[0].content' must be"),
    "an empty answer": (chat(said("user"), said("assistant", None)), "'messages[1].content'"),
    "a weight of a user": (chat(said("user", weight=1), said("assistant")), "a member 'weight'"),
    "half a weight": (chat(said("assistant", weight=0.5)), "it must be 0 or 1"),
    "a true weight": (chat(said("assistant", weight=True)), "it must be 0 or 1"),
    "all weights 0": (chat(said("user"), said("assistant", weight=0)), "nothing to learn"),
    "a question at the end": (chat(said("assistant"), said("user")), "the last of 'messages'"),
    "a call of nothing offered": (
        chat(said("user"), said("assistant", None, tool_calls=[CALL])),
        "calls 'add', which 'tools' does not offer",
    ),
    "arguments that are no JSON": (
        chat(
            said("user"),
            said(
                "assistant",
                None,
                tool_calls=[{**CALL, "function": {"name": "add", "arguments": "{"}}],
            ),
            tools=[TOOL],
        ),
        "'messages[1].tool_calls[0].function.arguments' is not JSON",
    ),
    "a result of no call": (
        chat(said("tool", tool_call_id="c9"), said("assistant")),
        "the id of no earlier tool call",
    ),
    "an id that is no text": (
        chat(said("tool", tool_call_id=["c1"]), said("assistant")),
        "'messages[0].tool_call_id' must be a text",
    ),
    "two functions of a name": (chat(tools=[TOOL, TOOL]), "two functions of the same name"),
    "a function without a name": (
        chat(tools=[{"type": "function", "function": {}}]),
        "'tools[0].function.name' must be a text",
    ),
    "a name with a blank": (
        chat(tools=[{"type": "function", "function": {"name": "a b"}}]),
        "'tools[0].function.name' is 'a b'",
    ),
    "several calls where one is allowed": (
        chat(
            said("user"),
            said("assistant", None, tool_calls=[CALL, {**CALL, "id": "c2"}]),
            tools=[TOOL],
            parallel_tool_calls=False,
        ),
        "several tool calls",
    ),
    "parallel calls without tools": (chat(parallel_tool_calls=True), "but no 'tools'"),
    "an empty completion": ({"prompt": "a", "completion": ""}, "'completion' is empty"),
    "a prompt alone": ({"prompt": "a"}, "'completion' must be a text"),
    "a preference": (preference(), "the method is 'supervised'"),
}


@pytest.mark.parametrize(("row", "reason"), WRONG.values(), ids=WRONG)
def test_a_wrong_row_is_named_with_the_reason(tmp_path: Path, row: Any, reason: str) -> None:
    [fault] = faults(tmp_path, GOOD[0], row.encode() if isinstance(row, str) else row)
    assert fault.line == 2
    assert reason in fault.reason


WRONG_PREFERENCES = {
    "no input": (chat(), "it has no 'input'"),
    "one output": (preference(preferred_output=None), "'preferred_output' must be an array"),
    "both names": (preference(preferred_completion=[said("assistant")]), "'preferred_output' once"),
    "a user's output": (preference(preferred_output=[said("user")]), "the role 'assistant'"),
    "the same twice": (preference(preferred_output=[said("assistant", "bad")]), "are the same"),
    "a weight": (preference(preferred_output=[said("assistant", weight=1)]), "knows weights"),
}


@pytest.mark.parametrize(("row", "reason"), WRONG_PREFERENCES.values(), ids=WRONG_PREFERENCES)
def test_a_wrong_preference_is_named_with_the_reason(
    tmp_path: Path, row: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InvalidTrainingFile) as error:
        check(write(tmp_path / "rows.jsonl", [row, *[preference()] * 10]), Method.DPO)
    [fault] = error.value.faults
    assert reason in fault.reason


def test_broken_json_is_named_with_its_column(tmp_path: Path) -> None:
    [fault] = faults(tmp_path, b'{"messages": oh}')
    assert (fault.line, fault.column) == (1, 14)
    assert str(fault) == "Line 1, column 14: it is not JSON (Expecting value)"


def test_a_row_that_is_not_utf_8_is_named_with_the_character(tmp_path: Path) -> None:
    [fault] = faults(tmp_path, '{"ä": "'.encode() + b'\xff"}')
    assert (fault.line, fault.column, fault.reason) == (1, 8, "it is not UTF-8 text")


def test_every_wrong_row_is_listed_up_to_a_number_and_the_others_are_counted(
    tmp_path: Path,
) -> None:
    path = write(tmp_path / "rows.jsonl", [b"{", *GOOD, b"["] * 4)
    with pytest.raises(InvalidTrainingFile) as error:
        check(path, Method.SUPERVISED, Bounds(most_faults=6))
    assert [fault.line for fault in error.value.faults] == [1, 12, 13, 24, 25, 36]
    assert error.value.more == 2
    assert str(error.value).endswith("And 3 more.")
    assert error.value.code == "invalid_training_file"


@pytest.mark.parametrize("count", [0, 9])
def test_a_file_with_fewer_than_ten_rows_is_refused(tmp_path: Path, count: int) -> None:
    with pytest.raises(TooFewRows, match=rf"has {count} example\(s\), but must have at least 10"):
        check(write(tmp_path / "rows.jsonl", GOOD[:count]), Method.SUPERVISED)


def test_conversations_and_completions_do_not_mix(tmp_path: Path) -> None:
    [fault] = faults(tmp_path, COMPLETION)
    assert (fault.line, fault.reason) == (2, "the file has conversations and completions mixed")


def test_a_row_that_is_too_large_is_one_fault_and_the_next_is_read(tmp_path: Path) -> None:
    large = chat(said("user", "x" * 300_000), said("assistant"))
    found = faults(tmp_path, large, b"{", bounds=Bounds(row_bytes=1000))
    assert [(fault.line, fault.column) for fault in found] == [(1, None), (2, 2)]
    assert found[0].reason == "the row is larger than 1000 bytes"


def test_a_row_of_just_the_bound_is_taken(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", GOOD)
    size = max(map(len, path.read_bytes().splitlines()))
    assert len(check(path, Method.SUPERVISED, Bounds(row_bytes=size)).digests) == 10


def test_reading_ends_where_there_are_too_many_rows_or_bytes(tmp_path: Path) -> None:
    [rows_fault] = faults(tmp_path, bounds=Bounds(most_rows=4))
    assert (rows_fault.line, rows_fault.reason) == (5, "the file has more than 4 rows")
    [size_fault] = faults(tmp_path, bounds=Bounds(file_bytes=100))
    assert size_fault.reason == "the file is larger than 100 bytes"


def test_blank_lines_a_byte_order_mark_and_windows_ends_are_no_faults(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", GOOD)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n\r\n"))
    checked = check(path, Method.SUPERVISED)
    assert len(checked.digests) == 10
    assert [each.line for each in rows(checked)] == list(range(1, 20, 2))
