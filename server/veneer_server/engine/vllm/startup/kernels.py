"""Refuses an engine whose kernels for adapters failed their test in a worker."""

from collections.abc import Iterable

from veneer_server.engine.base import EngineNotStarted


class WrongLoraKernels(EngineNotStarted):
    """The kernels for adapters compute something else than the products of adapters."""


def require_right_kernels(faults: Iterable[str | None]) -> None:
    """Return when no worker found a fault.

    Raises:
        WrongLoraKernels: one did.
    """
    for fault in filter(None, faults):
        raise WrongLoraKernels(
            "vLLM's kernels for adapters compute wrong results on this GPU, also with one pipeline"
            f" stage ({fault}), so answers would be wrong. Set adapters.max_rank to 32 or less, or"
            " install another version of triton."
        )
