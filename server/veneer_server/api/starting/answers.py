"""The answers before a server is ready: how far the start is, and 503 to everything else."""

from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from veneer_server.api import errors
from veneer_server.engine.base import EngineUnavailable
from veneer_server.engine.stages import Stages

_PROBES = ("/readyz", "/health", "/ping")
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
_RETRY_S = 5


def to_progress(stages: Stages) -> dict[str, Any]:
    """Return the JSON document for a start that has come to ``stages``; times are in seconds."""
    took = {str(stage): round(seconds, 1) for stage, seconds in stages.took_s().items()}
    return {"stage": stages.now and str(stages.now), "seconds": took}


def to_sentence(stages: Stages) -> str:
    """Return the message of a refusal."""
    stage = f" It is at the stage '{stages.now}'." if stages.now else ""
    return f"The server has been starting for {stages.total_s():.0f} s.{stage}"


def create_starting_app(stages: Stages) -> FastAPI:
    """Return the application that answers until the server is ready."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    errors.install(app)

    @app.api_route("/livez", methods=["GET", "HEAD"])
    async def live() -> dict[str, str]:
        return {"status": "ok"}

    @app.api_route("/{path:path}", methods=_METHODS)
    async def refuse(request: Request) -> JSONResponse:
        refused = EngineUnavailable(to_sentence(stages), retry_after_s=_RETRY_S)
        if request.url.path not in _PROBES:
            raise refused
        shown = errors.to_api_error(refused)
        body = {**errors.to_body(shown), "status": "starting", **to_progress(stages)}
        return JSONResponse(body, shown.status, {"retry-after": str(_RETRY_S)})

    return app
