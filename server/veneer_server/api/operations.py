"""Health, version and metrics, for probes and scrapers.

These routes need no key. Only the metrics need one once there are keys of tenants: their labels
name the adapters of all.
"""

import asyncio
from collections.abc import Callable, Iterable

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from prometheus_client import REGISTRY, Metric
from prometheus_client.exposition import choose_encoder, generate_latest
from prometheus_client.registry import Collector

from veneer_server import __version__
from veneer_server.api.deps import ServerDep, needs
from veneer_server.api.readiness import is_up, require_ready
from veneer_server.tenancy.scopes import Scope

router = APIRouter()
_OPEN = [needs(None)]
_METRICS = [needs(Scope.METRICS, once_there_are_keys=True)]


@router.get("/livez", dependencies=_OPEN)
async def live() -> dict[str, str]:
    """Answer 200 as long as the process can answer."""
    return {"status": "ok"}


@router.get("/readyz", dependencies=_OPEN)
@router.get("/health", dependencies=_OPEN)
@router.get("/ping", dependencies=_OPEN)
async def ready(server: ServerDep) -> dict[str, str]:
    """Answer 200 while the engine can serve, state can be written, and the server goes on."""
    await require_ready(server)
    return {"status": "ok"}


@router.get("/version", dependencies=_OPEN)
async def version(server: ServerDep) -> JSONResponse:
    """Return the server's version, its base model, its LoRA implementation and its dtype.

    ``lora_kernels`` says on CUDA which kernels serve and the figures that chose them.
    """
    return JSONResponse(
        {
            "version": __version__,
            "model": server.engine.model.id,
            "lora_op": server.engine.lora_op(),
            "lora_kernels": server.engine.lora_kernels(),
            "dtype": server.engine.facts.dtype,
        }
    )


@router.get("/metrics", response_class=PlainTextResponse, dependencies=_METRICS)
async def metrics(request: Request, server: ServerDep) -> Response:
    """Return vLLM's metrics and Veneer's.

    They are plain text of version 0.0.4, unless the scraper can read UTF-8 names. For a scraper
    that cannot, a newer format would turn ``vllm:*`` into ``vllm_*``.
    """
    server.metrics.engine_is(up=await is_up(server))
    both = _Both((REGISTRY, server.metrics.snapshot()))
    accept = request.headers.get("accept", "")
    encode: Callable[[Collector], bytes] = generate_latest
    content_type = "text/plain; version=0.0.4; charset=utf-8"
    if "escaping=allow-utf-8" in accept:
        encode, content_type = choose_encoder(accept)
    # With many adapters this takes tens of milliseconds, and no stream should wait for it.
    body = await asyncio.to_thread(encode, both)
    return Response(body, headers={"content-type": content_type})


class _Both(Collector):
    """Reads two collectors as one, because vLLM registers its metrics in the global registry."""

    def __init__(self, sources: tuple[Collector, Collector]) -> None:
        self._sources = sources

    def collect(self) -> Iterable[Metric]:
        for source in self._sources:
            yield from source.collect()
