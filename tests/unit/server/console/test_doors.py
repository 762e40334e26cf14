"""Which requests of a browser the console lets in."""

import pytest

from veneer_server.console.doors import NotLetIn, is_local, let_in

HERE = {"host": "127.0.0.1:8000"}
THERE = {"host": "veneer.example"}
FORM = {**HERE, "sec-fetch-site": "same-origin", "sec-fetch-mode": "navigate"}

CASES = [
    ("a typed address", "GET", {**HERE, "sec-fetch-site": "none"}, True, True),
    ("a program without a browser's headers", "GET", HERE, True, True),
    ("a name that was made to point here, without a key", "GET", THERE, True, False),
    ("the same, once there is a key", "GET", THERE, False, True),
    ("no name at all, without a key", "GET", {}, True, False),
    ("a form of the console", "POST", FORM, True, True),
    ("a form of another site", "POST", {**FORM, "sec-fetch-site": "cross-site"}, False, False),
    ("a form of another port", "POST", {**FORM, "sec-fetch-site": "same-site"}, False, False),
    ("a form of a page without origin", "POST", {**HERE, "origin": "null"}, False, False),
    ("a form of an old browser", "POST", {**HERE, "origin": "http://127.0.0.1:8000"}, True, True),
    ("one of another site", "POST", {**HERE, "origin": "http://evil.example"}, False, False),
    ("a form without any origin", "POST", HERE, False, False),
    ("no origin and no host", "POST", {"origin": "x"}, False, False),
    (
        "a link on another site",
        "GET",
        {**HERE, "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},
        False,
        True,
    ),
    (
        "another site that reads",
        "GET",
        {**HERE, "sec-fetch-site": "cross-site", "sec-fetch-mode": "cors"},
        False,
        False,
    ),
    (
        "another port that embeds a script",
        "GET",
        {**HERE, "sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors"},
        False,
        False,
    ),
]


@pytest.mark.parametrize(
    ("method", "headers", "is_keyless", "admitted"),
    [case[1:] for case in CASES],
    ids=[case[0] for case in CASES],
)
def test_who_is_let_in(
    method: str, headers: dict[str, str], is_keyless: bool, admitted: bool
) -> None:
    if admitted:
        let_in(method, headers, is_keyless=is_keyless)
        return
    with pytest.raises(NotLetIn):
        let_in(method, headers, is_keyless=is_keyless)


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8:80", True),
        ("localhost:8000", True),
        ("LOCALHOST", True),
        ("[::1]:8000", True),
        ("", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("evil@localhost.example", False),
        ("10.0.0.1", False),
        ("0x7f.1", False),
        ("[::1", False),
    ],
)
def test_which_names_mean_this_machine(host: str, local: bool) -> None:
    assert is_local(host) is local
