"""Items as they are kept, and as an engine reads them."""

from typing import Any

import pytest

from veneer_server.conversations.items import references, to_engine, to_kept

TEXT = {"type": "input_text", "text": "hi"}
CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}


def test_a_text_is_one_message_of_the_user() -> None:
    [item] = to_kept("hi")
    assert item.pop("id").startswith("msg_")
    assert item == {"type": "message", "role": "user", "content": [TEXT], "status": "completed"}


@pytest.mark.parametrize(
    ("given", "content"),
    [
        ({"role": "user", "content": "hi"}, [TEXT]),
        ({"role": "user", "content": [TEXT]}, [TEXT]),
        (
            {"role": "assistant", "content": "hi"},
            [{"type": "output_text", "text": "hi", "annotations": [], "logprobs": []}],
        ),
        (
            {"role": "user", "content": [{"type": "input_image", "image_url": "data:"}]},
            [{"type": "input_image", "image_url": "data:", "detail": "auto"}],
        ),
        ({"role": "user"}, []),
    ],
)
def test_the_content_of_a_message_becomes_parts(given: Any, content: Any) -> None:
    assert to_kept([given])[0]["content"] == content


def test_a_usable_id_stays_and_any_other_is_replaced() -> None:
    for usable in ("msg_1", "a-B_3"):
        assert to_kept([{"id": usable, "role": "user", "content": "x"}])[0]["id"] == usable
    for odd in ("", "a b", "x" * 129, "a\x00", 7, None):
        found = to_kept([{"id": odd, "role": "user", "content": "x"}])[0]["id"]
        assert found.startswith("msg_")


def test_every_kind_gets_an_id_of_its_own() -> None:
    kept = to_kept(
        [
            CALL,
            {"type": "function_call_output", "call_id": "c", "output": "1"},
            {"type": "reasoning"},
        ]
    )
    assert [item["id"].partition("_")[0] for item in kept] == ["fc", "fco", "rs"]
    assert kept[2]["summary"] == []
    assert "status" not in kept[2]


def test_what_is_no_item_is_left_to_the_engine() -> None:
    assert to_kept([7, None, "x"]) == []
    assert to_kept(None) == []


def test_an_engine_reads_a_message_without_the_marks_of_the_store() -> None:
    assert to_engine(to_kept("hi")) == [{"type": "message", "role": "user", "content": [TEXT]}]
    answer = {"id": "msg_1", "type": "message", "role": "assistant", "content": [TEXT]}
    assert to_engine([answer]) == [answer]


def test_a_message_that_says_nothing_is_not_read() -> None:
    assert to_engine([{"id": "m", "type": "message", "role": "assistant", "content": []}]) == []


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ([{"type": "item_reference", "id": "a"}], ["a"]),
        ([{"id": "a"}, {"type": None, "id": "b"}], ["a", "b"]),
        ([{"id": "a", "role": "user", "content": "x"}, {"type": "reasoning", "id": "b"}], []),
        ([{"type": "item_reference"}, 7], []),
        ("a", []),
    ],
)
def test_references(given: Any, found: list[str]) -> None:
    assert references(given) == found
