"""Which bodies have one meaning, and what is said of the others."""

import orjson
import pytest

from veneer_server.api.errors import InvalidJson, NotAnObject
from veneer_server.api.parsing import (
    DEEPEST,
    MOST_MEMBERS,
    MOST_TEXTS,
    MOST_VALUES,
    parse_object,
)


def nested(depth: int) -> bytes:
    """Return an object around a number that nests so deep, the object included."""
    return b'{"a":' + b"[" * (depth - 1) + b"1" + b"]" * (depth - 1) + b"}"


REFUSED = {
    "empty": (b"", "EOF"),
    "cut": (b'{"a":', "EOF"),
    "more": (b"{} {}", "trailing characters at line 1 column 4"),
    "comma": (b'{"a":1,}', "trailing comma"),
    "same key": (b'{"n": 1,\n "n": 2}', 'Detected duplicate key "n" at line 2'),
    "same key, escaped": (b'{"a": 1, "\\u0061": 2}', 'duplicate key "a"'),
    "same key, inside": (b'{"a": [{"b": 1, "c": 2, "b": 1}]}', 'duplicate key "b" at line 1'),
    "nan": (b'{"a": NaN}', "line 1 column 7"),
    "infinity": (b'{"a": -Infinity}', "line 1 column 8"),
    "utf-16": ('{"a": 1}'.encode("utf-16"), "line 1 column 1"),
    "byte order mark": (b"\xef\xbb\xbf{}", "line 1 column 1"),
    "invalid utf-8": (b'{"a": "\xff"}', "line 1 column 8"),
    "overlong utf-8": (b'{"a": "\xc0\x80"}', "line 1 column 8"),
    "surrogate": (b'{"a": "\\ud800"}', "hex escape"),
    "surrogate in utf-8": (b'{"a": "\xed\xa0\x80"}', "line 1 column 8"),
    "low surrogate": (b'{"a": "\\udc00x"}', "hex escape"),
    "nul": (b'{"a": "\x00"}', "control character"),
    "escaped nul": (b'{"a": "x\\u0000"}', "the character NUL"),
    "escaped nul, in a key": (b'{"a": {"\\u0000b": 1}}', "the character NUL"),
    "escaped nul, in an id of a prompt": (
        b'{"input": [{"id": "\\u0000"}]}',
        "the character NUL",
    ),
    "escaped nul behind a backslash": (b'{"a": "\\\\\\u0000"}', "the character NUL"),
    "large float": (b'{"a": 1e309}', "infinity"),
    "large float, E": (b'{"a": 1E+0400}', "infinity"),
    "large float, minus": (b'{"a": -1e999}', "infinity"),
    "large float, long": (b'{"a": ' + b"9" * 310 + b".5}", "infinity"),
    "large integer": (b'{"a": 18446744073709551616}', "64-bit"),
    "large integer, minus": (b'{"a": -9223372036854775809}', "64-bit"),
    "larger integer": (b'{"a": [' + b"9" * 300 + b"]}", "64-bit"),
    "enormous integer": (b'{"a": ' + b"9" * 5000 + b"}", "number out of range"),
    "deep": (nested(DEEPEST + 1), "recursion limit"),
    "very deep": (b"[" * 200_000, "recursion limit"),
}


@pytest.mark.parametrize(("raw", "said"), REFUSED.values(), ids=REFUSED)
def test_a_body_that_parsers_read_differently_is_refused(raw: bytes, said: str) -> None:
    with pytest.raises(InvalidJson) as refused:
        parse_object(raw)
    assert said in str(refused.value)
    assert len(str(refused.value)) < 400


ACCEPTED = {
    "largest integers": (b'{"a": [18446744073709551615, -9223372036854775808]}', None),
    "largest float": (b'{"a": 1.7976931348623157e308}', {"a": 1.7976931348623157e308}),
    "tiny float": (b'{"a": 1e-999}', {"a": 0.0}),
    "long float": (b'{"a": 0.1000000000000000055511151231257827}', {"a": 0.1}),
    "digits in a text": (b'{"a": "99999999999999999999999 1e999"}', None),
    "a backslash and no nul": (b'{"a": "\\\\u0000", "b": "\\\\\\\\u0000"}', None),
    "nul in a prompt": (b'{"prompt": ["\\u0000"]}', {"prompt": ["\0"]}),
    "nul in a message": (b'{"messages": [{"content": [{"text": "\\u0000"}]}]}', None),
    "a pair of surrogates": (b'{"a": "\\ud83d\\ude00"}', {"a": "\U0001f600"}),
    "one key in two objects": (b'{"a": {"b": 1}, "c": {"b": 1}}', None),
    "keys that differ in case": (b'{"n": 1, "N": 2}', {"n": 1, "N": 2}),
    "as deep as may be": (nested(DEEPEST), None),
    "blanks": (b' \r\n\t{ "a" : 1 }\n', {"a": 1}),
}


@pytest.mark.parametrize(("raw", "value"), ACCEPTED.values(), ids=ACCEPTED)
def test_a_body_with_one_meaning_is_read(raw: bytes, value: object) -> None:
    found = parse_object(raw)
    assert value is None or found == value


@pytest.mark.parametrize("raw", [b"[]", b"null", b"1", b'"a"'])
def test_json_that_is_no_object_is_told_so(raw: bytes) -> None:
    with pytest.raises(NotAnObject, match="must be an object"):
        parse_object(raw)


def test_a_refusal_does_not_repeat_a_long_key() -> None:
    key = b'"' + b"k" * 100_000 + b'"'
    with pytest.raises(InvalidJson) as refused:
        parse_object(b"{" + key + b":1," + key + b":2}")
    assert len(str(refused.value)) < 400
    assert "at line 1 column" in str(refused.value)


def members(count: int) -> bytes:
    """Return an object with so many members, inner ones included, of which many look odd."""
    odd = b'"%d\\\\" :\n{ "a\\":" : "[,{" }'
    return b"{" + b", ".join(odd % key for key in range(count // 2)) + b"}"


def test_a_body_has_no_more_than_50000_members_however_they_are_written() -> None:
    assert len(parse_object(members(MOST_MEMBERS))) == MOST_MEMBERS // 2
    with pytest.raises(InvalidJson, match="it has 50002 members in its objects, more than 50000"):
        parse_object(members(MOST_MEMBERS + 2))


def test_json_in_a_text_is_one_member() -> None:
    text = orjson.dumps({str(key): '"' for key in range(3 * MOST_MEMBERS)}).decode()
    body = {"model": "m", "prompt": text}
    assert parse_object(orjson.dumps(body)) == body


@pytest.mark.parametrize("value", [b"[]", b"{}", b"[0]", b"[\t1 ]"])
def test_a_body_has_no_more_than_100000_arrays_and_objects(value: bytes) -> None:
    most = b'{"a": [' + b" ,".join([value] * (MOST_VALUES - 1)) + b"]}"
    assert len(parse_object(most)["a"]) == MOST_VALUES - 1
    with pytest.raises(InvalidJson, match="it has 100001 arrays and objects, more than 100000"):
        parse_object(most.replace(b"[", b"[ " + value + b",", 1))


def texts(count: int) -> bytes:
    """Return an object with so many texts, the key included, of which each looks like more."""
    return orjson.dumps({"a": ['"\\'] * (count - 1)})


def test_a_body_has_no_more_than_100000_texts_keys_included() -> None:
    assert len(parse_object(texts(MOST_TEXTS))["a"]) == MOST_TEXTS - 1
    with pytest.raises(InvalidJson, match="it has 100001 texts, more than 100000"):
        parse_object(texts(MOST_TEXTS + 1))
