"""What people fill into the console's forms."""

from collections.abc import Mapping
from urllib.parse import parse_qsl

from fastapi import Request

from veneer_server.api.errors import BodyTooLarge, InvalidRequest

MOST_BYTES = 16_384
_MOST_FIELDS = 50
_MOST_DIGITS = 18


async def read_form(request: Request) -> dict[str, str]:
    """Return the fields of a form; the last one of a name counts.

    Raises:
        BodyTooLarge: the form has more than ``MOST_BYTES``; the rest of it is not read.
        InvalidRequest: the body is no form.
    """
    raw = bytearray()
    async for part in request.stream():
        raw += part
        if len(raw) > MOST_BYTES:
            raise BodyTooLarge(f"The form is larger than {MOST_BYTES} bytes.")
    try:
        return dict(parse_qsl(raw.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS))
    except ValueError as error:
        raise InvalidRequest("The body is no form of the console.") from error


def text_of(form: Mapping[str, str], field: str) -> str:
    """Return what was filled in, without space around it.

    Raises:
        InvalidRequest: nothing was.
    """
    found = form.get(field, "").strip()
    if not found:
        raise InvalidRequest(f"Please fill in '{field}'.", param=field)
    return found


def number_of(form: Mapping[str, str], field: str) -> int:
    """Return the whole number that was filled in.

    Raises:
        InvalidRequest: it is none.
    """
    text = text_of(form, field)
    if not text.isdecimal() or len(text) > _MOST_DIGITS:
        raise InvalidRequest(f"'{field}' must be a number.", param=field)
    return int(text)
