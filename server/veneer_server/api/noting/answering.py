"""What all routes that generate tell of who asks and who answers."""

from fastapi import Request

from veneer_server.serving.requests import Served


def owner_of(request: Request) -> str:
    """Return whose stored responses and conversations the client sees."""
    owner: str = request.state.principal.owner
    return owner


def note(request: Request, served: Served) -> dict[str, str]:
    """Tell the access log who answers, and return the headers that tell the client."""
    headers = dict(served.limits)
    if served.revision is not None:
        headers["x-veneer-adapter"] = served.revision.label
    if served.cold_start_s is not None:
        headers["x-veneer-cold-start-ms"] = str(round(served.cold_start_s * 1000))
    if served.compressed is not None:
        headers["x-veneer-compressed"] = f"{served.compressed:.2g}"
    if served.fell_back:
        headers["x-veneer-fallback"] = served.revision.label if served.revision else "base"
    request.state.adapter = headers.get("x-veneer-adapter")
    request.state.seen = served.seen
    return headers
