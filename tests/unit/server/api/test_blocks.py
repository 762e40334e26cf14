"""Parts of messages that the engine would take for something else are refused by name."""

from typing import Any

import pytest

from veneer_server.api.errors import InvalidRequest
from veneer_server.api.official.blocks import refuse_unreadable
from veneer_server.engine.base import Endpoint


def with_result(*parts: Any) -> dict[str, Any]:
    block = {"type": "tool_result", "tool_use_id": "0", "content": list(parts)}
    return {"messages": [{"role": "user", "content": [block]}]}


@pytest.mark.parametrize(
    ("part", "param"),
    [
        ({"type": ["text"], "text": "x"}, "type"),
        ({"text": "x"}, "type"),
        ({"type": "image", "source": []}, "source"),
        ({"type": "image", "source": None}, "source"),
        ({"type": "image", "source": {"type": "url", "url": 3}}, "source.url"),
        ({"type": "image", "source": {"type": ["url"]}}, "source.type"),
        ({"type": "image", "source": {"data": {}}}, "source.data"),
        ({"type": "text", "text": 1}, "text"),
        ({"type": "text", "text": None}, "text"),
        ({"type": "tool_reference", "tool_name": []}, "tool_name"),
    ],
)
def test_a_part_of_a_result_that_is_of_another_type_is_named(part: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        refuse_unreadable(Endpoint.MESSAGES, with_result(part))
    assert refused.value.param == f"messages[0].content[0].content[0].{param}"


def test_parts_of_a_result_that_are_right_are_left_to_the_engine() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "x"}}
    text = {"type": "text", "text": "fine"}
    refuse_unreadable(Endpoint.COUNT_TOKENS, with_result(image, text, {"type": "image"}, "odd", 3))
