"""Switches off vLLM's own metric ``vllm:lora_requests_info``.

vLLM keeps one series for each set of adapters that ever ran together, as long as the process
lives: with many adapters their number has no limit. It also uses the engine's names for adapters.
``veneer_server.telemetry.metrics`` exports the metric instead; see docs/adr/0009.
"""

from prometheus_client import REGISTRY
from vllm.v1.engine.async_llm import AsyncLLM


def drop_lora_gauge(client: AsyncLLM) -> None:
    """Make ``client`` neither keep nor export the metric; a second call does nothing."""
    manager = client.logger_manager
    for stat_logger in manager.stat_loggers if manager is not None else ():
        gauge = getattr(stat_logger, "gauge_lora_info", None)
        if gauge is not None:
            REGISTRY.unregister(gauge)
            stat_logger.gauge_lora_info = None
