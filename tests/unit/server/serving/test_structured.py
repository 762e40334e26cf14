"""Whether an answer keeps the structure that was asked for, whatever clients send as a schema."""

import json
from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.places import REPOSITORY
from veneer_adapters.canaries.tally import Ending
from veneer_server.engine.base import Endpoint
from veneer_server.serving.canaries.structured import Structure, judge, structure_of
from veneer_server.serving.canaries.texts import Texts

CITY = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 5}},
    "required": ["city"],
    "additionalProperties": False,
}
RECORDED = REPOSITORY / "tests" / "conformance" / "vllm_answers.jsonl"

ASKED: list[tuple[Endpoint, dict[str, Any], Structure | None]] = [
    (Endpoint.CHAT, {}, None),
    (Endpoint.CHAT, {"response_format": {"type": "text"}}, None),
    (Endpoint.CHAT, {"response_format": "json_object"}, None),
    (Endpoint.CHAT, {"response_format": {"type": "json_schema"}}, None),
    (Endpoint.CHAT, {"response_format": {"type": "json_object"}}, Structure(None)),
    (
        Endpoint.CHAT,
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": CITY}}},
        Structure(CITY),
    ),
    (Endpoint.COMPLETIONS, {"response_format": {"type": "json_object"}}, Structure(None)),
    (Endpoint.RESPONSES, {"text": {"format": {"type": "json_object"}}}, Structure(None)),
    (
        Endpoint.RESPONSES,
        {"text": {"format": {"type": "json_schema", "name": "a", "schema": CITY}}},
        Structure(CITY),
    ),
    (Endpoint.RESPONSES, {"text": {}, "response_format": {"type": "json_object"}}, None),
    (Endpoint.MESSAGES, {}, None),
]


@pytest.mark.parametrize(("endpoint", "body", "wanted"), ASKED, ids=str)
def test_a_request_says_where_its_endpoint_says_it(
    endpoint: Endpoint, body: Mapping[str, Any], wanted: Structure | None
) -> None:
    assert structure_of(endpoint, body) == wanted


ANSWERS: list[tuple[dict[str, Any] | None, list[str], Ending]] = [
    (CITY, ['{"city": "Paris"}'], Ending.KEPT),
    (CITY, ['{"city": "London"}'], Ending.BROKEN),
    (CITY, ["{}"], Ending.BROKEN),
    (CITY, ['{"city": "Paris"'], Ending.BROKEN),
    (CITY, ["Paris"], Ending.BROKEN),
    (CITY, [""], Ending.BROKEN),
    (CITY, ['{"city": "Paris"}', "{}"], Ending.BROKEN),
    (CITY, ['{"city": "Paris"}', '{"city": "Rome"}'], Ending.KEPT),
    (CITY, [], Ending.ANSWERED),
    (None, ['{"any": [1]}'], Ending.KEPT),
    (None, ["[1]"], Ending.BROKEN),
    (None, ["{'city': 1}"], Ending.BROKEN),
    (
        {"$ref": "#/$defs/city", "$defs": {"city": CITY}},
        ['{"city": 1}'],
        Ending.BROKEN,
    ),
    ({"$schema": "http://json-schema.org/draft-07/schema#", **CITY}, ["{}"], Ending.BROKEN),
    ({"type": "array", "uniqueItems": True}, ["[1, 1]"], Ending.BROKEN),
    ({"type": "array", "uniqueItems": True}, ['[{"a": 1}, {"a": 2}]'], Ending.KEPT),
]


@pytest.mark.parametrize(("schema", "texts", "ending"), ANSWERS, ids=str)
def test_an_answer_is_held_to_its_schema(
    schema: dict[str, Any] | None, texts: list[str], ending: Ending
) -> None:
    assert judge(Structure(schema), texts) is ending


def doubling(levels: int) -> dict[str, Any]:
    """A small schema that takes 2 ** levels steps."""
    defs: dict[str, Any] = {
        f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(levels)
    }
    return {"$ref": "#/$defs/d0", "$defs": {**defs, f"d{levels}": {"type": "object"}}}


EVIL = {"type": "string", "pattern": "^(a+)+$"}
HOSTILE: dict[str, dict[str, Any]] = {
    "a reference to elsewhere": {"$ref": "http://127.0.0.1:9/schema.json"},
    "a file": {"$ref": "file:///etc/passwd"},
    "a reference to no schema": {"$ref": "#/type", "type": "object"},
    "a reference to no member": {"$ref": "#/enum/x", "enum": [{}]},
    "no address": {"$defs": {"a": {"$id": "http://["}}, "$ref": "#/$defs/a"},
    "a reference to nothing": {"$ref": "#/$defs/none"},
    "itself": {"$ref": "#"},
    "more steps than there is time": doubling(40),
    "a bad regular expression for names": {"patternProperties": {"^(a+)+$": {}}},
    "another dialect inside": {
        "properties": {"x": {"$schema": "http://json-schema.org/draft-07/schema#", **EVIL}}
    },
    "not a schema": {"type": "cities"},
    "of the wrong types": {"minProperties": "one"},
    "too large": {"enum": ["x" * 70_000]},
    "too deep": json.loads('{"not":' * 400 + "{}" + "}" * 400),
}


@pytest.mark.parametrize("why", HOSTILE)
def test_a_schema_that_cannot_be_used_is_held_against_nobody(why: str) -> None:
    answer = json.dumps({"x": "a" * 40 + "!"})
    assert judge(Structure(HOSTILE[why]), [answer]) in (Ending.ANSWERED, Ending.KEPT)
    assert judge(Structure(HOSTILE[why]), ["{"]) is Ending.BROKEN


def test_a_regular_expression_of_a_client_is_never_run() -> None:
    schema = {"type": "object", "properties": {"x": EVIL}}
    assert judge(Structure(schema), [json.dumps({"x": "a" * 60 + "!"})]) is Ending.KEPT
    assert judge(Structure(schema), ['{"x": 1}']) is Ending.BROKEN


def test_many_items_that_cannot_be_sorted_are_not_compared_with_each_other() -> None:
    items = json.dumps([{"a": n} for n in range(2000)])
    assert judge(Structure({"uniqueItems": True}), [items]) is Ending.ANSWERED


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)
KEYWORDS = st.sampled_from(
    [
        "type",
        "properties",
        "items",
        "allOf",
        "anyOf",
        "not",
        "$ref",
        "enum",
        "if",
        "contains",
        "required",
        "dependentSchemas",
        "prefixItems",
        "$dynamicRef",
        "$defs",
        "multipleOf",
        "$id",
    ]
)


@settings(max_examples=30, deadline=None)
@given(schema=st.dictionaries(KEYWORDS, JSON | st.dictionaries(KEYWORDS, JSON)), value=JSON)
def test_whatever_a_schema_holds_judging_ends_in_an_ending(
    schema: dict[str, Any], value: Any
) -> None:
    assert judge(Structure(schema), [json.dumps(value)]) in set(Ending) - {Ending.FAILED}


def chat(text: str, reason: str = "stop", **more: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": text, **more}
    return {"choices": [{"index": 0, "message": message, "finish_reason": reason}]}


def read(endpoint: Endpoint, *parts: dict[str, Any] | bytes, most_chars: int = 100) -> Texts:
    texts = Texts(endpoint, most_chars)
    for part in parts:
        if isinstance(part, bytes):
            texts.frame(part)
        else:
            texts.document(part)
    return texts


def test_an_answer_that_was_cut_off_says_so() -> None:
    assert read(Endpoint.CHAT, chat("{", "length")).cut
    assert not read(Endpoint.CHAT, chat("{}")).cut
    assert read(Endpoint.RESPONSES, {"status": "incomplete", "output": []}).cut
    whole = read(Endpoint.RESPONSES, {"status": "completed", "output": []})
    assert (whole.cut, whole.found()) == (False, [])


def test_a_call_of_a_tool_and_a_refusal_have_no_text() -> None:
    assert read(Endpoint.CHAT, chat("", tool_calls=[{}])).found() == []
    assert read(Endpoint.CHAT, chat("", refusal="no")).found() == []
    called = {"status": "completed", "output": [{"type": "function_call"}]}
    assert read(Endpoint.RESPONSES, called).found() == []


def test_every_choice_of_a_stream_is_put_together_by_its_index() -> None:
    frames = []
    for index, text in ((0, "{"), (1, "["), (0, "}"), (1, "]")):
        choice = {"index": index, "delta": {"content": text}, "finish_reason": None}
        frames.append(b"data: " + orjson.dumps({"choices": [choice]}) + b"\n\n")
    assert read(Endpoint.CHAT, *frames, b"data: [DONE]\n\n").found() == ["{}", "[]"]


def test_more_text_than_is_kept_is_not_judged() -> None:
    texts = read(Endpoint.CHAT, chat("x" * 60), chat("x" * 60), chat("x"))
    assert texts.found() == []


RECORDS = {r["name"]: r for r in map(json.loads, RECORDED.read_text().splitlines())}


@pytest.mark.parametrize("name", ["responses.schema", "responses.schema.stream"])
def test_what_vllm_recorded_is_read_and_kept(name: str) -> None:
    record = RECORDS[name]
    texts = Texts(Endpoint.RESPONSES)
    if "document" in record:
        texts.document(record["document"])
    for event in record.get("events", ()):
        texts.frame(event.encode())
    schema = {"type": "object", "required": ["capital"]}
    assert texts.found() == ['{\n"capital": "Paris"\n}']
    assert judge(Structure(schema), texts.found()) is Ending.KEPT


@pytest.mark.parametrize("name", ["chat", "completions"])
def test_a_recorded_stream_says_what_its_document_says(name: str) -> None:
    endpoint = Endpoint(name)
    whole, streamed = Texts(endpoint), Texts(endpoint)
    whole.document(RECORDS[name]["document"])
    for event in RECORDS[f"{name}.stream"]["events"]:
        streamed.frame(event.encode())
    assert streamed.found()
    assert whole.found()
