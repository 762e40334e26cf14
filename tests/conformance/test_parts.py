"""Tools, texts and parts of messages: what is taken, and what is refused by its name."""

from typing import Any

import pytest

from conformance.test_members import CHAT, COUNT, MESSAGES, RESPONSES
from veneer_server.api.errors import InvalidRequest, UnsupportedParameter
from veneer_server.api.official.bodies import prepare
from veneer_server.engine.base import Endpoint


def function(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


def flat(name: str) -> dict[str, Any]:
    return {"type": "function", "name": name}


@pytest.mark.requirement("tools:allowed")
@pytest.mark.parametrize("mode", ["auto", "required"])
@pytest.mark.parametrize("endpoint", [CHAT, RESPONSES])
def test_allowed_tools_leave_out_the_others(endpoint: Endpoint, mode: str) -> None:
    make = function if endpoint is CHAT else flat
    inner = {"mode": mode, "tools": [make("b")]}
    choice = {"type": "allowed_tools", **({"allowed_tools": inner} if endpoint is CHAT else inner)}
    found = prepare(endpoint, {"tools": [make("a"), make("b")], "tool_choice": choice})
    assert found["tool_choice"] == mode
    [tool] = found["tools"]
    assert (tool["function"] if endpoint is CHAT else tool)["name"] == "b"
    assert (tool["function"] if endpoint is CHAT else tool).get("strict", False) == (
        mode == "required"
    )


@pytest.mark.requirement("tools:allowed")
@pytest.mark.parametrize(
    ("choice", "param"),
    [
        ({"mode": "auto", "tools": [function("c")]}, "tool_choice.allowed_tools.tools[0]"),
        ({"mode": "auto", "tools": []}, "tool_choice.allowed_tools.tools"),
        ({"mode": "x", "tools": [function("a")]}, "tool_choice.allowed_tools.mode"),
        (5, "tool_choice.allowed_tools"),
    ],
)
def test_allowed_tools_that_are_not_there_are_refused(choice: Any, param: str) -> None:
    body = {
        "tools": [function("a")],
        "tool_choice": {"type": "allowed_tools", "allowed_tools": choice},
    }
    with pytest.raises(InvalidRequest) as refused:
        prepare(CHAT, body)
    assert refused.value.param == param


def text(said: str, kind: str = "text") -> dict[str, Any]:
    return {"type": kind, "text": said}


IMAGE = {"type": "image", "source": {}}


USE = {"type": "tool_use", "id": "t", "name": "f", "input": {}}


PARTS: list[tuple[str, str, list[Any], list[Any]]] = [
    ("messages", "content", [text("a"), text("b")], [text("a\nb")]),
    ("messages", "content", [text("a")], [text("a")]),
    ("messages", "content", [text("a"), text(""), text("a")], [text("a\na")]),
    ("messages", "content", [text("a"), IMAGE, text("b")], [text("a"), IMAGE, text("b")]),
    ("messages", "content", [text("a"), USE, text("b")], [text("a\nb"), USE]),
    ("messages", "content", [text("a"), "b", text("c")], [text("a"), "b", text("c")]),
    ("input", "content", [text("a", "input_text"), text("b", "input_text")],
     [text("a\nb", "input_text")]),
    ("input", "output", [text("a", "input_text"), text("b", "input_text")],
     [text("a\nb", "input_text")]),
]  # fmt: skip


@pytest.mark.requirement("requests:text-parts")
@pytest.mark.parametrize(("name", "member", "parts", "expected"), PARTS)
def test_the_texts_of_a_message_are_joined_by_a_newline(
    name: str, member: str, parts: list[Any], expected: list[Any]
) -> None:
    endpoint = RESPONSES if name == "input" else MESSAGES
    found = prepare(endpoint, {name: [{"role": "user", member: parts}]})
    assert found[name] == [{"role": "user", member: expected}]


@pytest.mark.requirement("requests:text-parts")
def test_the_texts_of_a_system_prompt_are_joined_without_accounts() -> None:
    bill = text("x-anthropic-billing-header: 1")
    found = prepare(MESSAGES, {"system": [bill, text("a"), text("b")]})
    assert found == {"system": [text("a\nb")]}


UNREADABLE = [
    ({"type": "document"}, "messages[0].content[0].type", "document"),
    ({"type": "search_result"}, "messages[0].content[0].type", "search_result"),
    ({"type": "nonsense"}, "messages[0].content[0].type", "nonsense"),
    (
        {"type": "tool_result", "content": [text("x"), {"type": "document"}]},
        "messages[0].content[0].content[1].type",
        "document",
    ),
]


@pytest.mark.requirement("messages:unreadable-blocks")
@pytest.mark.parametrize(("block", "param", "kind"), UNREADABLE)
@pytest.mark.parametrize("endpoint", [MESSAGES, COUNT])
def test_a_block_that_is_not_read_gives_a_sentence_about_itself(
    endpoint: Endpoint, block: dict[str, Any], param: str, kind: str
) -> None:
    with pytest.raises(UnsupportedParameter) as refused:
        prepare(endpoint, {"messages": [{"role": "user", "content": [block]}]})
    assert refused.value.param == param
    assert f"does not read blocks of the type '{kind}'" in str(refused.value)


UNREAD_PARTS: list[tuple[dict[str, Any], str, str]] = [
    ({"type": "foo"}, "[0].content[1].type", "parts of the type 'foo'"),
    ({"type": "file", "file": {"file_id": "f"}}, "[0].content[1].type", "parts of the type 'file'"),
    ({"type": "text"}, "[0].content[1].text", "Missing required parameter"),
    ({"type": "refusal", "text": "x"}, "[0].content[1].refusal", "Missing required parameter"),
    ({"type": "image_url"}, "[0].content[1].image_url", "Missing required parameter"),
    ({"type": "image_url", "image_url": {}}, "[0].content[1].image_url.url", "Missing required"),
    ({"type": "input_audio"}, "[0].content[1].input_audio", "Missing required parameter"),
]


@pytest.mark.requirement("chat:unreadable-parts")
@pytest.mark.parametrize(("part", "place", "said"), UNREAD_PARTS)
@pytest.mark.parametrize("endpoint", [CHAT, Endpoint.TOKENIZE])
def test_a_part_that_is_not_read_gives_a_sentence_about_itself(
    endpoint: Endpoint, part: dict[str, Any], place: str, said: str
) -> None:
    with pytest.raises(InvalidRequest, match=said) as refused:
        prepare(endpoint, {"messages": [{"role": "user", "content": [text("a"), part]}]})
    assert refused.value.param == f"messages{place}"


@pytest.mark.requirement("responses:unreadable-parts")
@pytest.mark.parametrize("member", ["content", "output"])
def test_a_file_in_an_item_gives_a_sentence_about_itself(member: str) -> None:
    parts = [text("a", "input_text"), {"type": "input_file", "file_id": "f"}]
    with pytest.raises(UnsupportedParameter, match="parts of the type 'input_file'") as refused:
        prepare(RESPONSES, {"input": [{"role": "user", member: parts}]})
    assert refused.value.param == f"input[0].{member}[1].type"
    assert "as a part of the type 'input_text'" in str(refused.value)


@pytest.mark.requirement("tools:hosted")
def test_a_tool_of_anthropics_is_refused() -> None:
    with pytest.raises(UnsupportedParameter, match="'bash_20250124'") as refused:
        prepare(MESSAGES, {"tools": [{"type": "bash_20250124", "name": "bash"}]})
    assert refused.value.param == "tools[0].type"


@pytest.mark.requirement("errors:missing-schema")
@pytest.mark.parametrize(
    ("endpoint", "body", "param"),
    [
        (CHAT, {"response_format": {"json_schema": {"name": "x"}}}, "response_format.json_schema"),
        (CHAT, {"response_format": {}}, "response_format.json_schema"),
        (RESPONSES, {"text": {"format": {"name": "x"}}}, "text.format"),
        (MESSAGES, {"output_config": {"format": {}}}, "output_config.format"),
        (MESSAGES, {"output_format": {}}, "output_format"),
    ],
)
def test_a_format_without_its_schema_says_where_that_should_be(
    endpoint: Endpoint, body: dict[str, Any], param: str
) -> None:
    innermost = next(iter(body.values()))
    (innermost.get("format", innermost) if endpoint is not CHAT else innermost)["type"] = (
        "json_schema"
    )
    with pytest.raises(InvalidRequest, match="Missing required parameter") as refused:
        prepare(endpoint, body)
    assert str(refused.value.param).startswith(param)


@pytest.mark.requirement("errors:wrong-type")
@pytest.mark.parametrize("message", [{"content": "x"}, {"role": None, "content": "x"}])
def test_a_message_without_a_role_is_named_by_its_place(message: dict[str, Any]) -> None:
    messages = [{"role": "user", "content": "x"}, message]
    with pytest.raises(InvalidRequest, match="Missing required parameter") as refused:
        prepare(CHAT, {"messages": messages})
    assert refused.value.param == "messages[1].role"
