"""``/v1/files``: uploaded, listed, read and deleted.

Source: https://platform.openai.com/docs/api-reference/files
"""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from veneer_server.api.deps import ServerDep, needs
from veneer_server.api.files.form import Form
from veneer_server.api.files.receiving import receive
from veneer_server.api.files.sending import FileContent
from veneer_server.api.noting.answering import owner_of
from veneer_server.files.files import Named
from veneer_server.files.records import Page, StoredFile
from veneer_server.files.rules import lasts_of, name_of, purpose_of
from veneer_server.tenancy.scopes import Scope

router = APIRouter(dependencies=[needs(Scope.INFER)])
_ONE = "/v1/files/{file_id}"
_FORM = {
    "type": "object",
    "required": ["file", "purpose"],
    "properties": {
        "file": {"type": "string", "format": "binary"},
        "purpose": {"type": "string"},
        "expires_after[anchor]": {"type": "string"},
        "expires_after[seconds]": {"type": "integer"},
    },
}
_UPLOAD = {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _FORM}}}}


@router.post("/v1/files", openapi_extra=_UPLOAD)
async def upload(request: Request, server: ServerDep) -> dict[str, Any]:
    """Keep the file of the form; when this answers, the file survives a power loss."""
    return to_document(await receive(request, server, _named))


def _named(form: Form) -> Named:
    purpose = purpose_of(form.fields.get("purpose"))
    return Named(name_of(form.filenames["file"]), purpose, lasts_of(form.fields, purpose))


@router.get("/v1/files", response_model=None)
async def list_files(
    request: Request,
    server: ServerDep,
    purpose: str | None = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
    order: Literal["asc", "desc"] = "desc",
    after: str | None = None,
) -> JSONResponse:
    """Return a page of the files."""
    page = await server.files.page(
        owner_of(request), purpose=purpose, after=after, limit=limit, newest=order == "desc"
    )
    return JSONResponse(to_list(page))


@router.get(_ONE)
async def retrieve(request: Request, file_id: str, server: ServerDep) -> dict[str, Any]:
    """Return what is known of the file."""
    return to_document(await server.files.find(owner_of(request), file_id))


@router.get(_ONE + "/content", response_model=None)
async def content(request: Request, file_id: str, server: ServerDep) -> FileContent:
    """Return the bytes of the file."""
    file = await server.files.find(owner_of(request), file_id)
    return FileContent(file, await server.files.open(file), server.deadline)


@router.delete(_ONE)
async def delete(request: Request, file_id: str, server: ServerDep) -> dict[str, Any]:
    """Remove the file."""
    await server.files.delete(owner_of(request), file_id)
    return {"id": file_id, "object": "file", "deleted": True}


def to_document(file: StoredFile) -> dict[str, Any]:
    """Return ``file`` in OpenAI's shape."""
    shown = {
        "id": file.id,
        "object": "file",
        "bytes": file.size_bytes,
        "created_at": file.created,
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
    }
    return shown if file.expires is None else {**shown, "expires_at": file.expires}


def to_list(page: Page) -> dict[str, Any]:
    """Return ``page`` in OpenAI's shape; the schema has no null for the ids of an empty one."""
    ids = [file.id for file in page.files] or [""]
    return {
        "object": "list",
        "data": [to_document(file) for file in page.files],
        "first_id": ids[0],
        "last_id": ids[-1],
        "has_more": page.more,
    }
