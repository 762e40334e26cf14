"""Which rows of the table somebody sees, and the lines for a terminal."""

import shlex
from dataclasses import replace

import pytest

from veneer_server.api.errors import InvalidRequest
from veneer_server.console.variants.choosing import COLUMNS, Wish, choose, to_wish
from veneer_server.console.variants.equals import Terminal
from veneer_server.console.variants.rows import Row

PLAIN = Row("", "ready", 1, 8, 1000, None, False, 0.0, None, None, 0.0, 0.0, None, None, None)


def row(name: str, **changed: object) -> Row:
    return replace(PLAIN, name=name, **changed)


ROWS = [
    row("acme/pirate", requests_per_s=2.0),
    row("haiku", requests_per_s=None),
    row("pirate", requests_per_s=9.0, state="resident"),
    row("Zebra", requests_per_s=0.5, state="failed"),
]

CASES = [
    ("everything by name", Wish(), "acme/pirate haiku pirate Zebra"),
    ("a text, whatever its case", Wish(text="PIR"), "acme/pirate pirate"),
    ("a state", Wish(state="failed"), "Zebra"),
    ("the busiest first, unknown last", Wish(sort="requests_per_s", backwards=True),
     "pirate acme/pirate Zebra haiku"),
    ("the quietest first, unknown last", Wish(sort="requests_per_s"),
     "Zebra acme/pirate pirate haiku"),
    ("nothing fits", Wish(text="<script>"), ""),
]  # fmt: skip


@pytest.mark.parametrize(("wish", "names"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_which_rows_are_shown(wish: Wish, names: str) -> None:
    assert " ".join(row.name for row in choose(sorted_by_name(), wish).rows) == names


def sorted_by_name() -> list[Row]:
    return sorted(ROWS, key=lambda r: r.name.lower())


def test_a_page_has_as_many_rows_as_were_asked_for_and_the_last_one_the_rest() -> None:
    many = [row(f"a{number:04}") for number in range(1234)]
    first = choose(many, Wish())
    assert (len(first.rows), first.first, first.fitting, first.pages) == (100, 1, 1234, 13)
    last = choose(many, Wish(page=13))
    assert (len(last.rows), last.first) == (34, 1201)
    assert choose(many, Wish(page=99)) == last
    assert len(choose(many, Wish(size=1000)).rows) == 1000


@pytest.mark.parametrize("column", COLUMNS)
def test_a_column_sorts_and_then_the_other_way_round(column: str) -> None:
    once = to_wish(dict(pair.split("=") for pair in Wish().sorted_by(column).split("&")))
    assert once.sort == column
    again = dict(pair.split("=") for pair in once.sorted_by(column).split("&") if pair)
    assert to_wish(again).backwards is not once.backwards


def test_an_address_says_what_was_asked_for_and_leaves_out_what_is_usual() -> None:
    assert Wish().query() == ""
    asked = Wish(text="a b&c", state="ready", sort="rank", backwards=True, page=2, size=1000)
    assert asked.query() == "text=a+b%26c&state=ready&sort=rank&backwards=1&page=2&size=1000"


@pytest.mark.parametrize(
    "query",
    [
        {"sort": "__class__"},
        {"state": "unknown"},
        {"page": "0"},
        {"page": "-1"},
        {"page": "9" * 50},
        {"page": "٣" * 7},
        {"size": "1000000"},
        {"backwards": "yes"},
    ],
)
def test_what_cannot_be_asked_for_is_said(query: dict[str, str]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        to_wish(query)
    assert caught.value.param in query


NASTY = ["pirate", "team/pirate", "a'b", "$(reboot)", "a b;c", "<img src=x>", "-rf", "`id`"]


@pytest.mark.parametrize("name", NASTY)
def test_a_name_is_one_word_of_a_line_for_a_terminal(name: str) -> None:
    for equal in Terminal("http://127.0.0.1:8000", with_key=True).of(name).values():
        assert name in shlex.split(equal.command)
        url = shlex.split(equal.curl)[3]
        assert url.startswith("http://127.0.0.1:8000/v1/adapters/")
        assert not set(url) & set(" '\"$`;<>&|()")


def test_a_line_sends_a_key_only_where_there_is_one() -> None:
    with_key = Terminal("http://h", with_key=True).of("a")["load"].curl
    assert with_key.endswith('-H "Authorization: Bearer $OPENAI_API_KEY"')
    assert "Bearer" not in Terminal("http://h", with_key=False).of("a")["load"].curl
