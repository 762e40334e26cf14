"""An upload's form, read part by part: its one file goes to disk while it arrives.

Source: RFC 7578, by the parser that FastAPI's own forms use. That one keeps a form in memory or in
the system's folder for temporary files, and bounds neither.
"""

import asyncio
from collections.abc import AsyncIterator

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from veneer_server.api.errors import InvalidRequest
from veneer_server.files.contents import Arriving, too_large

FORM_BYTES = 65536
"""Most bytes of a form beside those of its file."""
_BUFFER_BYTES = 1 << 20
_MOST_FIELDS = 16
_LONGEST_FIELD = 4096


class Form:
    """What has come of a form: its fields, and the name of its file."""

    def __init__(self) -> None:
        self.fields: dict[str, str] = {}
        self.filename: str | None = None
        """None as long as no file has begun."""


class _Parts:
    """Takes what the parser reports, and keeps what is to be written to the file."""

    def __init__(self, form: Form) -> None:
        self.waiting = bytearray()
        self.is_complete = False
        self._form = form
        self._header = self._value = b""
        self._disposition = b""
        self._field: str | None = None
        self._text = bytearray()
        self._seen = 0

    def begin(self) -> None:
        self._seen += 1
        if self._seen > _MOST_FIELDS:
            raise _refused(f"it has more than {_MOST_FIELDS} parts")
        self._disposition, self._field, self._text = b"", None, bytearray()

    def header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header = self._value = b""

    def headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if b"filename" in options:
            if name != "file" or self._form.filename is not None:
                raise _refused("its one file is the part 'file'", param="file")
            self._form.filename = options[b"filename"].decode("utf-8", "replace")
        elif not name or name in self._form.fields:
            raise _refused("each part needs a name of its own")
        else:
            self._field = name

    def content(self, data: bytes, start: int, end: int) -> None:
        if self._field is None:
            self.waiting += data[start:end]
            return
        self._text += data[start:end]
        if len(self._text) > _LONGEST_FIELD:
            raise _refused(f"a field has more than {_LONGEST_FIELD} bytes", param=self._field)

    def end(self) -> None:
        if self._field is None:
            return
        try:
            self._form.fields[self._field] = self._text.decode()
        except UnicodeDecodeError as error:
            raise _refused("a field is not UTF-8", param=self._field) from error

    def complete(self) -> None:
        self.is_complete = True


async def read_form(content_type: str, body: AsyncIterator[bytes], arriving: Arriving) -> Form:
    """Return the form in ``body``, whose file is then in ``arriving``.

    Raises:
        InvalidRequest: it is no form, or not one with one file called ``file``.
        FileTooLarge, DiskFull, FilesUnavailable: as ``Arriving.write``.
    """
    form, received, most = Form(), 0, arriving.max_bytes + FORM_BYTES
    parts = _Parts(form)
    parser = _parser(content_type, parts)
    async for some in body:
        received += len(some)
        if received > most:
            raise too_large(arriving.max_bytes)
        try:
            parser.write(some)
        except FormParserError as error:
            raise _refused(str(error)) from error
        if len(parts.waiting) >= _BUFFER_BYTES:
            await _write(parts, arriving)
    if not parts.is_complete:
        raise _refused("it ends too early")
    await _write(parts, arriving)
    if form.filename is None:
        raise InvalidRequest("Missing required parameter: 'file'.", param="file")
    return form


async def _write(parts: _Parts, arriving: Arriving) -> None:
    some, parts.waiting = bytes(parts.waiting), bytearray()
    await asyncio.to_thread(arriving.write, some)


def _parser(content_type: str, parts: _Parts) -> MultipartParser:
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not boundary:
        raise _refused("its content type must be multipart/form-data with a boundary")
    try:
        return MultipartParser(
            boundary,
            {
                "on_part_begin": parts.begin,
                "on_header_field": parts.header_field,
                "on_header_value": parts.header_value,
                "on_header_end": parts.header_end,
                "on_headers_finished": parts.headers_finished,
                "on_part_data": parts.content,
                "on_part_end": parts.end,
                "on_end": parts.complete,
            },
        )
    except FormParserError as error:
        raise _refused(str(error)) from error


def _refused(why: str, *, param: str | None = None) -> InvalidRequest:
    return InvalidRequest(f"We could not read the form of your request: {why}.", param=param)
