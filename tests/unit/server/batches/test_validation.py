"""Whether a file can be a batch; each fault has its line, code and parameter."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from veneer_server.batches.records import LineFault
from veneer_server.batches.validation import MOST_FAULTS, Validation

PATH = "/v1/chat/completions"


def parse(raw: bytes) -> Mapping[str, Any]:
    found = json.loads(raw)
    if not isinstance(found, dict):
        raise ValueError("not an object")
    return found


def check(body: Mapping[str, Any]) -> LineFault | None:
    return LineFault("model_not_found", "No.", param="model") if "bad" in body else None


def asked(**change: Any) -> dict[str, Any]:
    whole = {"custom_id": "a", "method": "POST", "url": PATH, "body": {"model": "m"}}
    return {name: value for name, value in (whole | change).items() if value is not None}


def validated(*lines: Any, max_lines: int = 10) -> Validation:
    found = Validation(PATH, parse, check, max_lines=max_lines)
    for line in lines:
        raw = line if isinstance(line, bytes) else json.dumps(line).encode()
        found.take(raw + b"\n")
    return found


def told(found: Validation) -> list[tuple[int | None, str, str | None]]:
    return [(fault.line, fault.code, fault.param) for fault in found.end()]


def test_each_line_is_found_again_by_its_place() -> None:
    found = validated(asked(), b"", asked(custom_id="b", body={"model": "n"}))
    raw = b"".join(json.dumps(one).encode() + b"\n" for one in (asked(),))
    assert told(found) == []
    first, second = found.lines
    assert (first.offset, first.size_bytes, first.custom_id) == (0, len(raw), "a")
    assert (second.offset, second.custom_id, second.model) == (len(raw) + 1, "b", "n")


@pytest.mark.parametrize(
    ("line", "code", "param"),
    [
        (b"{", "invalid_json_line", None),
        (b"[]", "invalid_json_line", None),
        (b"\xff", "invalid_json_line", None),
        (asked(custom_id=None), "missing_required_parameter", "custom_id"),
        (asked(body=None), "missing_required_parameter", "body"),
        (asked(custom_id=1), "invalid_type", "custom_id"),
        (asked(body=[]), "invalid_type", "body"),
        (asked(custom_id=""), "invalid_custom_id", "custom_id"),
        (asked(custom_id="x" * 513), "invalid_custom_id", "custom_id"),
        (asked(method="GET"), "invalid_method", "method"),
        (asked(url="/v1/completions"), "mismatched_url", "url"),
        (asked(body={"stream": True}), "stream_not_supported", "body.stream"),
        (asked(body={"background": True}), "background_not_supported", "body.background"),
        (asked(body={"bad": 1}), "model_not_found", "body.model"),
        (asked(priority=1), "unknown_parameter", "priority"),
    ],
)
def test_a_wrong_line_is_told_with_its_number_code_and_parameter(
    line: Any, code: str, param: str | None
) -> None:
    assert told(validated(asked(custom_id="first"), line)) == [(2, code, param)]


def test_a_custom_id_stands_once_in_a_file() -> None:
    assert told(validated(asked(), asked())) == [(2, "duplicate_custom_id", "custom_id")]


@pytest.mark.parametrize("lines", [[], [b"", b"  "]])
def test_an_empty_file_is_no_batch(lines: list[bytes]) -> None:
    assert told(validated(*lines)) == [(None, "empty_file", None)]


def test_more_lines_than_a_batch_may_have_end_the_look() -> None:
    found = validated(*(asked(custom_id=str(n)) for n in range(3)), max_lines=2)
    assert (found.is_over, told(found)) == (True, [(3, "too_many_tasks", None)])


def test_a_line_that_is_too_long_ends_the_look() -> None:
    found = validated(asked())
    found.refuse("line_too_long", "Too long.")
    assert (found.is_over, told(found)) == (True, [(2, "line_too_long", None)])


def test_no_more_than_a_hundred_faults_are_told() -> None:
    found = validated(*[b"{"] * MOST_FAULTS)
    assert found.is_over
    assert len(found.end()) == MOST_FAULTS


def test_a_batch_has_a_model_when_all_lines_name_the_same() -> None:
    same, other = asked(custom_id="b"), asked(custom_id="b", body={"model": "n"})
    assert validated(asked(), same).model() == "m"
    assert validated(asked(), other).model() is None
    assert validated(asked(body={"x": 1})).model() is None
