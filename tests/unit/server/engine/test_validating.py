"""Many items are validated beside the event loop, and only the first wrong one is told."""

import threading
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError, field_validator, model_validator

from veneer_server.engine.vllm.validating import Validating

THREADS: set[str] = set()


class Item(BaseModel):
    """One item, which notes the thread that validates it."""

    size: int

    @field_validator("size")
    @classmethod
    def note(cls, size: int) -> int:
        THREADS.add(threading.current_thread().name)
        if size < 0:
            raise ValueError("too small")
        return size


class Request(BaseModel):
    """A request with items or a text."""

    input: str | list[Item] = ""
    model: str = "m"
    messages: list[Item] = []

    @model_validator(mode="before")
    @classmethod
    def hurry(cls, body: dict[str, Any]) -> dict[str, Any]:
        body.get("odd", {}).get("inner")
        return body


KIND: TypeAdapter[Request] = TypeAdapter(Request)


async def request(items: Any, **more: Any) -> Request:
    THREADS.clear()
    found: Request = await Validating().request(KIND, {"input": items, **more})
    return found


async def test_a_few_items_are_validated_at_once() -> None:
    assert len((await request([{"size": 1}] * 8)).input) == 8
    assert {threading.main_thread().name} == THREADS


async def test_many_items_are_validated_in_another_thread() -> None:
    assert len((await request([{"size": 1}] * 100, model="n")).input) == 100
    assert threading.main_thread().name not in THREADS


@pytest.mark.parametrize(("count", "apart"), [(50, False), (200, True)])
async def test_many_messages_are_validated_in_another_thread(count: int, apart: bool) -> None:
    found = await request("hi", messages=[{"role": "user", "size": 1}] * count)
    assert len(found.messages) == count
    assert (threading.main_thread().name not in THREADS) is apart


@pytest.mark.parametrize("count", [3, 300])
async def test_the_first_wrong_item_is_told_with_its_place(count: int) -> None:
    items = [{"size": 1}] * (count - 1) + [{"size": -1}, {"size": "x"}]
    with pytest.raises(ValidationError) as refused:
        await request(items)
    faults = refused.value.errors()
    first = next(fault for fault in faults if "Item" in str(fault["loc"]) or len(fault["loc"]) > 3)
    assert (first["loc"][-2:], first["msg"]) == ((count - 1, "size"), "Value error, too small")
    assert count < 100 or len(faults) == 2


async def test_a_fault_elsewhere_is_told_when_every_item_is_right() -> None:
    with pytest.raises(ValidationError) as refused:
        await request([{"size": 1}] * 100, model=1)
    assert refused.value.errors()[0]["loc"] == ("model",)


EARLY = [
    ({"messages": 7}, ("messages",), "Input should be a valid list"),
    ({"messages": "x"}, ("messages",), "Input should be a valid list"),
    ({"tools": 1.5}, ("tools",), "Input should be a valid list"),
    ({"tools": {}}, ("tools",), "Input should be a valid list"),
    ({"structured_outputs": "x"}, ("structured_outputs",), "Input should be a valid dictionary"),
    ({"structured_outputs": []}, ("structured_outputs",), "Input should be a valid dictionary"),
    ({"messages": [{"role": "user"}, {"author": {}}]}, ("messages", 1, "role"), "Field required"),
    ({"odd": 7}, (), "A member has a type that does not belong there."),
]
"""Members, the place of the fault and what is said of it."""


@pytest.mark.parametrize(("more", "place", "said"), EARLY)
@pytest.mark.parametrize("count", [1, 100])
async def test_a_member_that_is_read_before_its_type_is_checked_is_a_fault_of_the_body(
    more: dict[str, Any], place: tuple[str | int, ...], said: str, count: int
) -> None:
    with pytest.raises(ValidationError) as refused:
        await request([{"size": 1}] * count, **more)
    assert [(fault["loc"], fault["msg"]) for fault in refused.value.errors()] == [(place, said)]
