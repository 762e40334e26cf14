"""From a client's body to vLLM's request object, without holding up the event loop.

A Responses request lists items of thirty kinds. vLLM tries each kind with each item, so a long list
takes a tenth of a second, and a wrong one seconds: half a million errors. Another long body takes a
few hundredths, which add up with what else is done with it on the loop.

Some of vLLM's validators read a member before its type is checked, and fail as Python does then.
"""

import asyncio
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

_FEW = 8
"""So many items are validated at once, in a few milliseconds."""
_FEW_OTHERS = 256
"""So many other items, and members of objects, of which each has only a few kinds."""
_KINDS = {"list_type": list, "dict_type": dict}
_READ_EARLY = {"messages": "list_type", "tools": "list_type", "structured_outputs": "dict_type"}
"""Members that vLLM's validators read before their type is checked, and pydantic's name of what is
wrong with another type."""
_UNREADABLE: InitErrorDetails = {
    "type": PydanticCustomError("unreadable", "A member has a type that does not belong there."),
    "loc": (),
    "input": None,
}


class Validating:
    """Validates bodies; those with many items, in a thread of its own."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="validating")

    async def request(self, kind: TypeAdapter[Any], body: Mapping[str, Any]) -> Any:
        """Return ``body`` as a request of vLLM's.

        Raises:
            ValidationError: it is none; of many items, the errors are those of the first wrong one.
        """
        given = body.get("input")
        items = given if isinstance(given, list) and len(given) > _FEW else []
        if not items and not _has_many(body):
            return _validate(kind, body)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, _one_by_one, kind, body, items)


def _has_many(body: Any) -> bool:
    """Return whether ``body`` has more than a few items and members, at any depth."""
    count, waiting = 0, [body]
    while waiting and count <= _FEW_OTHERS:
        value = waiting.pop()
        if isinstance(value, Mapping | list):
            count += len(value)
            waiting += value if isinstance(value, list) else value.values()
    return count > _FEW_OTHERS


def _one_by_one(kind: TypeAdapter[Any], body: Mapping[str, Any], items: list[Any]) -> Any:
    for index, item in enumerate(items):
        try:
            _validate(kind, {"input": [item]})
        except ValidationError as error:
            raise _at(index, error) from None
    return _validate(kind, body)


def _validate(kind: TypeAdapter[Any], body: Mapping[str, Any]) -> Any:
    if faults := [*_early_faults(body)]:
        raise ValidationError.from_exception_data("body", faults)
    try:
        return kind.validate_python(dict(body))
    except (AttributeError, LookupError) as error:
        # A validator that we do not know of. A ValueError or TypeError already is the client's.
        raise ValidationError.from_exception_data("body", [_UNREADABLE]) from error


def _early_faults(body: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
    for name, wanted in _READ_EARLY.items():
        if not isinstance(body.get(name), type(None) | _KINDS[wanted]):
            yield {"type": wanted, "loc": (name,), "input": None}
    if isinstance(messages := body.get("messages"), list):
        # vLLM takes one without a role for another library's message, and then cannot read it.
        for index, message in enumerate(messages):
            if isinstance(message, dict) and "role" not in message:
                yield {"type": "missing", "loc": ("messages", index, "role"), "input": None}
                break


def _at(index: int, error: ValidationError) -> ValidationError:
    faults: list[InitErrorDetails] = [
        {
            "type": PydanticCustomError(fault["type"], "{said}", {"said": fault["msg"]}),
            "loc": tuple(_moved(fault["loc"], index)),
            "input": None,
        }
        for fault in error.errors(include_url=False, include_input=False, include_context=False)
    ]
    return ValidationError.from_exception_data(error.title, faults)


def _moved(place: tuple[int | str, ...], index: int) -> Iterator[int | str]:
    moved = False
    for part in place:
        yield index if part == 0 and not moved else part
        moved = moved or part == 0
