"""An upload's form: its fields, and its one file, which goes to disk while it arrives."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from veneer_server.api.errors import InvalidRequest
from veneer_server.api.multipart import Sink, read_parts, refused
from veneer_server.files.contents import Arriving, too_large


@dataclass(frozen=True, slots=True)
class Form:
    """What has come of a form: its fields, and the name of its file."""

    fields: dict[str, str]
    filename: str


async def read_form(content_type: str, body: AsyncIterator[bytes], arriving: Arriving) -> Form:
    """Return the form in ``body``, whose file is then in ``arriving``.

    Raises:
        InvalidRequest: it is no form, or not one with one file called ``file``.
        FileTooLarge, DiskFull, FilesUnavailable: as ``Arriving.write``.
    """
    names: list[str] = []

    def begin(part: str, filename: str) -> Sink:
        if part != "file" or names:
            raise refused("its one file is the part 'file'", param="file")
        names.append(filename)
        return arriving.write

    fields = await read_parts(
        content_type,
        body,
        begin,
        most_bytes=arriving.max_bytes,
        too_large=lambda: too_large(arriving.max_bytes),
    )
    if not names:
        raise InvalidRequest("Missing required parameter: 'file'.", param="file")
    return Form(fields, names[0])
