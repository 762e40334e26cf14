"""A form with files, read part by part: each file goes to disk while it arrives.

Source: RFC 7578, by the parser that FastAPI's own forms use. That one keeps a form in memory or in
the system's folder for temporary files, and bounds neither.
"""

from collections.abc import AsyncIterator, Callable

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from veneer_adapters.threads import in_thread
from veneer_server.api.errors import InvalidRequest

FORM_BYTES = 65536
"""Most bytes of a form beside those of its files."""
_BUFFER_BYTES = 1 << 20
_MOST_FIELDS = 16
_LONGEST_FIELD = 4096

Sink = Callable[[bytes], None]
"""Keeps a part of a file; called in a thread, at least once for each file."""
Begin = Callable[[str, str], Sink]
"""Gets the names of a part and of its file, and says where the file goes, or raises."""


class _Parts:
    """Takes what the parser reports, and keeps what is to be written to the files."""

    def __init__(self, begin: Begin) -> None:
        self.fields: dict[str, str] = {}
        self.waiting: list[tuple[Sink, bytearray]] = []
        self.waiting_bytes = 0
        self.is_complete = False
        self._begin = begin
        self._header = self._value = b""
        self._disposition = b""
        self._field: str | None = None
        self._text = bytearray()
        self._seen = 0

    def begin(self) -> None:
        self._seen += 1
        if self._seen > _MOST_FIELDS:
            raise refused(f"it has more than {_MOST_FIELDS} parts")
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
            filename = options[b"filename"].decode("utf-8", "replace")
            self.waiting.append((self._begin(name, filename), bytearray()))
        elif not name or name in self.fields:
            raise refused("each part needs a name of its own")
        else:
            self._field = name

    def content(self, data: bytes, start: int, end: int) -> None:
        if self._field is None:
            self.waiting[-1][1].extend(data[start:end])
            self.waiting_bytes += end - start
            return
        self._text += data[start:end]
        if len(self._text) > _LONGEST_FIELD:
            raise refused(f"a field has more than {_LONGEST_FIELD} bytes", param=self._field)

    def end(self) -> None:
        if self._field is None:
            return
        try:
            self.fields[self._field] = self._text.decode()
        except UnicodeDecodeError as error:
            raise refused("a field is not UTF-8", param=self._field) from error

    def complete(self) -> None:
        self.is_complete = True

    def take(self) -> list[tuple[Sink, bytes]]:
        """Return what is to be written now; the file that still arrives stays open."""
        found = [(sink, bytes(some)) for sink, some in self.waiting]
        self.waiting = [(sink, bytearray()) for sink, _ in self.waiting[-1:]]
        self.waiting_bytes = 0
        return found


async def read_parts(
    content_type: str,
    body: AsyncIterator[bytes],
    begin: Begin,
    *,
    most_bytes: int,
    too_large: Callable[[], Exception],
) -> dict[str, str]:
    """Return the fields of the form in ``body``, whose files have then gone to their sinks.

    When the files have more than ``most_bytes`` together, the error is that of ``too_large``.

    Raises:
        InvalidRequest: it is no form.
        Exception: what ``begin`` or a sink raises.
    """
    parts, received = _Parts(begin), 0
    parser = _parser(content_type, parts)
    async for some in body:
        received += len(some)
        if received > most_bytes + FORM_BYTES:
            raise too_large()
        try:
            parser.write(some)
        except FormParserError as error:
            raise refused(str(error)) from error
        if parts.waiting_bytes >= _BUFFER_BYTES:
            await in_thread(_write, parts.take())
    if not parts.is_complete:
        raise refused("it ends too early")
    await in_thread(_write, parts.take())
    return parts.fields


def _write(waiting: list[tuple[Sink, bytes]]) -> None:
    for sink, some in waiting:
        sink(some)


def _parser(content_type: str, parts: _Parts) -> MultipartParser:
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not boundary:
        raise refused("its content type must be multipart/form-data with a boundary")
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
        raise refused(str(error)) from error


def refused(why: str, *, param: str | None = None) -> InvalidRequest:
    """Return the error of a form that cannot be read."""
    return InvalidRequest(f"We could not read the form of your request: {why}.", param=param)
