"""A form with files arrives: from a client of the API, or from a page of the console."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace

from fastapi import Request

from veneer_adapters.threads import to_its_end
from veneer_server.api.deps import Server
from veneer_server.api.files.form import Form, read_form
from veneer_server.api.multipart import FORM_BYTES
from veneer_server.api.noting.answering import owner_of
from veneer_server.files.contents import Arriving, too_large
from veneer_server.files.files import Named
from veneer_server.files.records import StoredFile
from veneer_server.files.rules import name_of

Say = Callable[[Form], Named]
"""Says of a whole form what its file is called, and for how long it stays."""


async def receive(request: Request, server: Server, named: Say) -> StoredFile:
    """Keep the one file of the form; when this returns, it survives a power loss.

    Raises:
        InvalidRequest: it is no form, or not one with one file called ``file``.
        FileFault: the file cannot be kept.
    """
    return (await receive_all(request, server, named))["file"]


async def receive_all(
    request: Request, server: Server, named: Say, *others: str
) -> dict[str, StoredFile]:
    """Keep the files of the form, by their part: ``file``, and those of the ``others`` that came.

    When one cannot be kept, none is.

    Raises:
        InvalidRequest: it is no such form.
        FileFault: a file cannot be kept.
    """
    files, owner = server.files, owner_of(request)
    declared = request.headers.get("content-length", "0")
    most = files.bounds.max_bytes * (1 + len(others))
    if declared.isdigit() and int(declared) > most + FORM_BYTES:
        raise too_large(files.bounds.max_bytes)
    await files.require_room(owner)
    async with AsyncExitStack() as stack:
        arriving = {
            part: await stack.enter_async_context(files.receiving(owner))
            for part in ("file", *others)
        }
        content_type = request.headers.get("content-type", "")
        form = await read_form(content_type, request.stream(), arriving)
        return await _keep(server, owner, arriving, form, named(form))


async def _keep(
    server: Server, owner: str, arriving: Mapping[str, Arriving], form: Form, first: Named
) -> dict[str, StoredFile]:
    kept: dict[str, StoredFile] = {}
    try:
        for part, name in form.filenames.items():
            named = first if part == "file" else replace(first, filename=name_of(name))
            kept[part] = await server.files.add(owner, arriving[part], named)
    except BaseException:
        await forget(server, owner, kept.values())
        raise
    return kept


async def forget(server: Server, owner: str, kept: Iterable[StoredFile]) -> None:
    """Remove files that nobody will use: all of them, also when the caller is cancelled."""

    async def remove() -> None:
        for file in kept:
            await server.files.delete(owner, file.id)

    await to_its_end(remove())
