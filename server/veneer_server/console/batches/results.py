"""A file, to be downloaded: the answers of a batch, or the figures of a job."""

from fastapi.responses import Response

from veneer_server.api.files.sending import FileContent
from veneer_server.console.frame import Visit


async def send(visit: Visit) -> Response:
    """Return the bytes of the file that the path names; raises FileNotFound."""
    server, file_id = visit.server, visit.request.path_params["file_id"]
    file = await server.files.find(visit.who.owner, file_id)
    return FileContent(file, await server.files.open(file), server.deadline)
