"""The scripts and styles of the console: a few small files from the wheel, kept in memory."""

import hashlib
import mimetypes
from functools import cache
from pathlib import Path

from fastapi import Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

FOLDER = Path(__file__).parent / "static"
_FOREVER = "public, max-age=31536000, immutable"


@cache
def _files() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in FOLDER.iterdir() if path.is_file()}


def address(name: str) -> str:
    """Return the address of a file; other content gets another one, so browsers may keep it."""
    return f"static/{name}?v={hashlib.sha256(_files()[name]).hexdigest()[:12]}"


async def send(request: Request) -> Response:
    """Return the file that the path names.

    Raises:
        HTTPException: there is none.
    """
    name = request.path_params["name"]
    content = _files().get(name)
    if content is None:
        raise HTTPException(404)
    kind = mimetypes.guess_type(name)[0] or "text/plain"
    return Response(content, media_type=kind, headers={"cache-control": _FOREVER})
