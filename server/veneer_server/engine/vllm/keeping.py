"""What vLLM would keep as long as this process lives: a metric, and the tokenizers of every engine.

vLLM expects one engine for each process. Here an engine that is lost is followed by another.
"""

from prometheus_client import REGISTRY
from vllm.tokenizers.registry import cached_get_tokenizer
from vllm.utils.func_utils import _supports_kw
from vllm.v1.engine.async_llm import AsyncLLM


def drop_lora_gauge(client: AsyncLLM) -> None:
    """Make ``client`` neither keep nor export ``vllm:lora_requests_info``; again does nothing.

    vLLM keeps one series for each set of adapters that ever ran together: with many adapters their
    number has no limit. It also uses the engine's names for adapters.
    ``veneer_server.telemetry.metrics`` exports the metric instead; see docs/adr/0009.
    """
    manager = client.logger_manager
    for stat_logger in manager.stat_loggers if manager is not None else ():
        gauge = getattr(stat_logger, "gauge_lora_info", None)
        if gauge is not None:
            REGISTRY.unregister(gauge)
            stat_logger.gauge_lora_info = None


def forget_tokenizers() -> None:
    """Let go of the tokenizers that engines had; one that is in use stays with its user.

    With a vocabulary of 49,000 tokens each takes 20 MiB, and an engine has a pool of copies. Two
    caches hold them: that of the tokenizers, and that of which keywords a function takes, because
    the methods of such a pool are functions that hold the pool.
    """
    cached_get_tokenizer.cache_clear()
    _supports_kw.cache_clear()
