"""The files of an adapter as somebody sends them: a form with two files, whatever their folder."""

from collections.abc import Mapping
from functools import partial

from fastapi import Request

from veneer_adapters.artifact.files import FILES
from veneer_adapters.catalog.revision import Revision
from veneer_adapters.names import LIVE
from veneer_adapters.publishing.uploads import Upload, too_large
from veneer_server.api.admin.bodies import require_alias_name
from veneer_server.api.deps import Server
from veneer_server.api.errors import InvalidRequest
from veneer_server.api.multipart import FORM_BYTES, Sink, read_parts, refused
from veneer_server.api.noting.auditing import audited
from veneer_server.tenancy.principals import Principal

_YES = {"true": True, "1": True, "false": False, "0": False, "": False}

SCHEMA = {
    "type": "object",
    "required": ["file"],
    "properties": {
        "file": {"type": "array", "items": {"type": "string", "format": "binary"}},
        "alias": {"type": "string"},
        "allow_no_effect": {"type": "boolean"},
    },
}
"""The form, as OpenAPI describes it."""


async def receive(request: Request, upload: Upload) -> dict[str, str]:
    """Return the fields of the form in ``request``; its files are in ``upload`` then.

    Raises:
        InvalidRequest: it is no such form.
        TooLarge: the files are larger than they may be; the rest is not read.
        StorageFailed: they cannot be written.
    """
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > upload.max_bytes + FORM_BYTES:
        raise too_large(upload.max_bytes)
    return await read_parts(
        request.headers.get("content-type", ""),
        request.stream(),
        _Sinks(upload).begin,
        most_bytes=upload.max_bytes,
        too_large=lambda: too_large(upload.max_bytes),
    )


async def publish(
    request: Request,
    server: Server,
    who: Principal,
    name: str,
    upload: Upload,
    fields: Mapping[str, str],
) -> Revision:
    """Publish what was uploaded as a revision of ``name``, which may be new.

    Raises:
        NotOwned: the name is another tenant's, or the operator's.
        InvalidRequest: a field has an impossible value.
        AdapterRejected, AdapterUnavailable: see ``Adapters.publish_upload``.
    """
    who.require_owner(name)
    alias = require_alias_name(fields.get("alias", "").strip() or LIVE)
    allowed = _YES.get(fields.get("allow_no_effect", ""))
    if allowed is None:
        raise InvalidRequest("'allow_no_effect' must be true or false.", param="allow_no_effect")
    details = {"alias": alias, "source": "upload"}
    async with audited(request, server, "adapter.publish", name[:200], **details) as change:
        published = await server.adapters.publish_upload(
            name, upload, alias=alias, allow_no_effect=allowed
        )
        change.object = published.label
    return published


class _Sinks:
    """Says where each file of the form goes; a browser may send a folder before its name."""

    def __init__(self, upload: Upload) -> None:
        self._upload = upload
        self._begun: set[str] = set()

    def begin(self, part: str, filename: str) -> Sink:
        name = filename.replace("\\", "/").rpartition("/")[2]
        if part != "file" or name not in FILES or name in self._begun:
            raise refused(f"its parts 'file' are {' and '.join(FILES)}, once each", param="file")
        self._begun.add(name)
        return partial(self._upload.write, name)
