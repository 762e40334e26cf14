"""Rows at random: each is taken or refused with a sentence, and nothing else happens."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.training_rows import CALL, TOOL, called, chat, preference, said
from veneer_server.training.rows.faults import InvalidRow
from veneer_server.training.rows.parsing import parse_line
from veneer_server.training.rows.rows import Method, read_row

WORDS = ["messages", "role", "content", "user", "assistant", "tool", "function", "add", "{}", "c1"]
SCALARS = st.none() | st.booleans() | st.integers(-2, 2) | st.floats() | st.sampled_from(WORDS)
ODD = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(WORDS), inner),
    max_leaves=4,
)
GOOD = [chat(), called(), preference(), chat(said("assistant", [{"type": "text", "text": "a"}]))]


def places(found: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every value in ``found``."""
    inner = found.items() if isinstance(found, dict) else enumerate(found)
    below = [(*path, key) for key, _ in inner] if isinstance(found, dict | list) else []
    return below + [
        deeper
        for key in below
        if isinstance(value := at(found, key[len(path) :]), dict | list)
        for deeper in places(value, key)
    ]


def at(found: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        found = found[key]
    return found


@st.composite
def nearly_right(draw: st.DrawFn) -> dict[str, Any]:
    """A row in which one value is another one."""
    row = json.loads(json.dumps(draw(st.sampled_from(GOOD))))
    path = draw(st.sampled_from(places(row)))
    at(row, path[:-1])[path[-1]] = draw(ODD | st.sampled_from([CALL, TOOL, [CALL], [TOOL]]))
    return row  # type: ignore[no-any-return]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(row=nearly_right(), method=st.sampled_from(Method))
def test_a_row_with_one_odd_value_is_read_or_refused_with_a_sentence(
    row: dict[str, Any], method: Method
) -> None:
    with suppress(InvalidRow):
        read_row(row, method)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(line=st.binary(max_size=40) | st.text(max_size=40).map(str.encode))
def test_any_bytes_are_an_object_or_refused_with_a_sentence(line: bytes) -> None:
    with suppress(InvalidRow):
        assert isinstance(parse_line(line), dict)


@pytest.mark.parametrize("number", ["1" * 5000, "-" + "9" * 5000])
def test_a_number_of_thousands_of_digits_is_refused(number: str) -> None:
    with pytest.raises(InvalidRow, match="a number that cannot be read"):
        parse_line(f'{{"a": {number}}}'.encode())
