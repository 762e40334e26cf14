"""What a request says about state."""

from typing import Any

import pytest

from veneer_server.conversations.asking import Keep, read_state
from veneer_server.conversations.errors import StateRefused


@pytest.mark.parametrize(
    ("body", "by_default", "keep"),
    [
        ({}, True, Keep.BY_DEFAULT),
        ({"store": None}, True, Keep.BY_DEFAULT),
        ({}, False, Keep.NO),
        ({"store": False}, True, Keep.NO),
        ({"store": True}, False, Keep.ASKED),
        ({"background": True}, False, Keep.ASKED),
    ],
)
def test_whether_a_response_is_kept(body: dict[str, Any], by_default: bool, keep: Keep) -> None:
    assert read_state(body, by_default=by_default).keep is keep


def test_a_conversation_is_an_id_or_has_one() -> None:
    for value in ("conv_1", {"id": "conv_1"}):
        assert read_state({"conversation": value}, by_default=True).conversation == "conv_1"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"store": 1}, "store"),
        ({"background": "true"}, "background"),
        ({"previous_response_id": []}, "previous_response_id"),
        ({"conversation": {"name": "x"}}, "conversation"),
        ({"conversation": "c", "previous_response_id": "r"}, "previous_response_id"),
        ({"background": True, "store": False}, "background"),
    ],
)
def test_what_contradicts_itself_is_refused(body: dict[str, Any], param: str) -> None:
    with pytest.raises(StateRefused) as refused:
        read_state(body, by_default=True)
    assert refused.value.param == param
