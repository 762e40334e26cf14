"""A form with a file arrives: from a client of the API, or from a page of the console."""

from collections.abc import Callable

from fastapi import Request

from veneer_server.api.deps import Server
from veneer_server.api.files.form import Form, read_form
from veneer_server.api.multipart import FORM_BYTES
from veneer_server.api.noting.answering import owner_of
from veneer_server.files.contents import too_large
from veneer_server.files.files import Named
from veneer_server.files.records import StoredFile


async def receive(request: Request, server: Server, named: Callable[[Form], Named]) -> StoredFile:
    """Keep the file of the form; ``named`` says of the whole form what the file is called.

    When this returns, the file survives a power loss.

    Raises:
        InvalidRequest: it is no form, or not one with one file called ``file``.
        FileFault: the file cannot be kept.
    """
    files, owner = server.files, owner_of(request)
    declared = request.headers.get("content-length", "0")
    most = files.bounds.max_bytes
    if declared.isdigit() and int(declared) > most + FORM_BYTES:
        raise too_large(most)
    await files.require_room(owner)
    async with files.receiving(owner) as arriving:
        content_type = request.headers.get("content-type", "")
        form = await read_form(content_type, request.stream(), arriving)
        return await files.add(owner, arriving, named(form))
