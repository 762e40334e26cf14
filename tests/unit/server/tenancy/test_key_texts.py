"""A key can be told from a mistyped one, and only its digest is kept."""

import pytest

from veneer_server.tenancy.key_texts import KeyText, draw, parse


def test_a_new_key_is_read_back() -> None:
    key = draw()
    assert parse(str(key)) == key
    assert str(key).startswith(f"vnr_live_{key.id}_")


def test_two_keys_share_neither_id_nor_secret() -> None:
    one, other = draw(), draw()
    assert one.id != other.id
    assert one.secret != other.secret


def test_a_key_has_the_length_and_the_letters_that_scanners_look_for() -> None:
    assert len(str(draw())) == len("vnr_live_") + 8 + 1 + 43 + 1 + 6


@pytest.mark.parametrize("place", range(len("vnr_live_"), len("vnr_live_") + 59))
def test_one_wrong_character_makes_it_no_key(place: int) -> None:
    text = str(KeyText("abcdefg2", "A" * 43))
    wrong = "B" if text[place] != "B" else "C"
    assert parse(text[:place] + wrong + text[place + 1 :]) is None


@pytest.mark.parametrize(
    "text", ["", "sk-abc", "vnr_live_", "' OR 1=1 --", "vnr_live_" + "a" * 1_000_000, "vnr_live_\0"]
)
def test_anything_else_is_no_key(text: str) -> None:
    assert parse(text) is None


def test_a_digest_depends_on_id_secret_and_pepper() -> None:
    key = KeyText("abcdefg2", "A" * 43)
    others = [
        KeyText("abcdefg3", "A" * 43).digest(None),
        KeyText("abcdefg2", "B" * 43).digest(None),
        key.digest("pepper"),
    ]
    assert key.digest(None) == key.digest(None)
    assert key.digest(None) not in others
    assert key.secret not in key.digest(None)
