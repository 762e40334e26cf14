"""The grammar of the ``model`` field."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veneer_adapters.errors import AdapterNotFound
from veneer_adapters.names import Selector, close_matches, is_adapter_name, parse_model

BASES = ("smollm2", "org/base", "org/base:v1")
HEX = "0123456789abcdef"

SELECTED = [
    ("pirate", Selector("pirate", alias="live")),
    ("team/pirate", Selector("team/pirate", alias="live")),
    ("pirate@live", Selector("pirate", alias="live")),
    ("pirate@canary", Selector("pirate", alias="canary")),
    ("pirate@3", Selector("pirate", number=3)),
    (f"pirate@sha256:{HEX}", Selector("pirate", digest=HEX)),
    ("smollm2:pirate", Selector("pirate", alias="live")),
    ("org/base:pirate@2", Selector("pirate", number=2)),
    ("org/base:v1:team/pirate@2", Selector("team/pirate", number=2)),
    ("ft:smollm2:veneer:pirate:k3x9w2ab", Selector("ft-k3x9w2ab", alias="live")),
    ("ft:smollm2:veneer::k3x9w2ab", Selector("ft-k3x9w2ab", alias="live")),
    ("ft:org/base:v1:acme:a.b:k3x9w2ab", Selector("acme/ft-k3x9w2ab", alias="live")),
    (
        "ft:smollm2:acme:x:k3x9w2ab:ckpt-step-20",
        Selector("acme/ft-k3x9w2ab", alias="ckpt-step-20"),
    ),
]

NOT_NAMES = [
    "",
    " pirate",
    "pirate\n",
    "-pirate",
    "a/b/c",
    "/pirate",
    "pirate/",
    "pirate@",
    "pirate@0",
    "pirate@01",
    "pirate@sha256:0123456789a",
    "pirate@sha256:0123456789AB",
    "pirate@live@live",
    "ft:pirate",
    "ft:other:veneer::k3x9w2ab",
    "ft:smollm2:veneer:k3x9w2ab",
    "ft:smollm2:veneer::k3x9w2a",
    "ft:smollm2:veneer::k3x9w2ab:ckpt-step-",
    "ft:smollm2:veneer::k3x9w2ab:step-20",
    "other:pirate",
    "smollm2:",
    "smollm2:smollm2:pirate",
    "a" * 64,
    "päirate",
    "x\x00",
    "\ud800",
    "a" * 100_000,
]


@pytest.mark.parametrize(("text", "selector"), SELECTED)
def test_a_name_selects_an_adapter_and_a_revision(text: str, selector: Selector) -> None:
    assert parse_model(text, BASES) == selector


@pytest.mark.parametrize("text", BASES)
def test_the_base_is_selected_by_its_id_alone(text: str) -> None:
    assert parse_model(text, BASES) is None


@pytest.mark.parametrize("text", NOT_NAMES)
def test_what_cannot_be_a_name_is_not_found(text: str) -> None:
    with pytest.raises(AdapterNotFound) as caught:
        parse_model(text, BASES)
    assert len(str(caught.value)) < 300
    assert str(caught.value).isprintable()


@given(st.text(max_size=80))
def test_any_text_is_the_base_or_a_selector_or_not_found(text: str) -> None:
    try:
        selector = parse_model(text, BASES)
    except AdapterNotFound:
        return
    assert selector is None or is_adapter_name(selector.adapter)


@pytest.mark.parametrize("selector", [s for _, s in SELECTED])
def test_a_selector_prints_as_what_it_was_parsed_from(selector: Selector) -> None:
    assert parse_model(str(selector), BASES) == selector


def test_a_misspelt_base_is_suggested() -> None:
    with pytest.raises(AdapterNotFound, match="Did you mean `smollm2`") as caught:
        parse_model("smollm2!", BASES)
    assert caught.value.close_matches == ("smollm2",)


def test_at_most_three_names_are_suggested_the_nearest_first() -> None:
    known = ["pirate", "pirates", "pirate1", "pirate2", "haiku"]
    assert close_matches("pirat", known)[0] == "pirate"
    assert len(close_matches("pirat", known)) == 3
    assert close_matches("zzz", known) == ()


def test_the_nearest_is_found_among_thousands() -> None:
    known = [f"haiku-{index}" for index in range(5000)] + ["pirate"]
    assert close_matches("pirat", known) == ("pirate",)
    assert close_matches("hiaku-123", known)[0] == "haiku-123"
