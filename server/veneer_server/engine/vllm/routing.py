"""Why vLLM's own ``vllm:lora_requests_info`` is switched off.

vLLM keeps one series for each set of adapters that ever ran together, for as long as the
process lives: with many adapters they are without number. It also names adapters as the engine
does. ``veneer_server.telemetry.metrics`` exports the metric instead; see docs/adr/0009.
"""

from prometheus_client import REGISTRY
from vllm.v1.engine.async_llm import AsyncLLM


def drop_lora_gauge(client: AsyncLLM) -> None:
    """Make ``client`` neither keep nor export the metric; twice is a no-op."""
    manager = client.logger_manager
    for stat_logger in manager.stat_loggers if manager is not None else ():
        gauge = getattr(stat_logger, "gauge_lora_info", None)
        if gauge is not None:
            REGISTRY.unregister(gauge)
            stat_logger.gauge_lora_info = None
