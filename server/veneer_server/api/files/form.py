"""An upload's form: its fields, and its files, which go to disk while they arrive."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from veneer_server.api.errors import InvalidRequest
from veneer_server.api.multipart import Sink, read_parts, refused
from veneer_server.files.contents import Arriving, too_large


@dataclass(frozen=True, slots=True)
class Form:
    """What has come of a form: its fields, and the names of its files, by their part."""

    fields: dict[str, str]
    filenames: dict[str, str]


async def read_form(
    content_type: str, body: AsyncIterator[bytes], arriving: Mapping[str, Arriving]
) -> Form:
    """Return the form in ``body``, whose files are then in ``arriving``, by their part.

    The part ``file`` must be there. Another one that a browser sends without a name is none.

    Raises:
        InvalidRequest: it is no form, or has no ``file``, or a part twice or one that is unknown.
        FileTooLarge, DiskFull, FilesUnavailable: as ``Arriving.write``.
    """
    names: dict[str, str] = {}

    def begin(part: str, filename: str) -> Sink:
        if part not in arriving or part in names:
            known = " and ".join(f"'{name}'" for name in arriving)
            raise refused(f"each file is a part of its own: {known}", param="file")
        names[part] = filename
        return arriving[part].write

    fields = await read_parts(
        content_type,
        body,
        begin,
        most_bytes=sum(each.max_bytes for each in arriving.values()),
        too_large=lambda: too_large(arriving["file"].max_bytes),
    )
    if "file" not in names:
        raise InvalidRequest("Missing required parameter: 'file'.", param="file")
    sent = {part: name for part, name in names.items() if name or part == "file"}
    return Form(fields, sent)
