"""Health, version and metrics, for probes and scrapers; no key is asked for."""

from collections.abc import Iterable

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import REGISTRY, Metric
from prometheus_client.exposition import choose_encoder, generate_latest

from veneer_server import __version__
from veneer_server.api.deps import State, StateDep
from veneer_server.api.errors import ShuttingDown

router = APIRouter()


@router.get("/livez")
async def live() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz")
@router.get("/health")
@router.get("/ping")
async def ready(state: StateDep) -> dict[str, str]:
    """The engine is up and the server takes requests."""
    await _check(state)
    return {"status": "ok"}


async def _check(state: State) -> None:
    if state.draining.is_set():
        raise ShuttingDown("The server is shutting down.")
    await state.engine.check_health()


@router.get("/version")
async def version(state: StateDep) -> JSONResponse:
    """Which server this is."""
    return JSONResponse(
        {"version": __version__, "model": state.engine.model.id, "lora_op": state.engine.lora_op()}
    )


@router.get("/metrics")
async def metrics(request: Request, state: StateDep) -> Response:
    """vLLM's metrics and ours.

    Plain 0.0.4 text unless the scraper can read UTF-8 names: newer formats would otherwise
    turn ``vllm:*`` into ``vllm_*``.
    """
    both = _Both(state)
    accept = request.headers.get("accept", "")
    if "escaping=allow-utf-8" in accept:
        encode, content_type = choose_encoder(accept)
        return Response(encode(both), media_type=content_type)
    body = generate_latest(both)
    return Response(body, headers={"content-type": "text/plain; version=0.0.4; charset=utf-8"})


class _Both:
    """Two registries read as one: vLLM registers in the global one."""

    def __init__(self, state: State) -> None:
        self._registries = (REGISTRY, state.metrics.registry)

    def collect(self) -> Iterable[Metric]:
        for registry in self._registries:
            yield from registry.collect()
