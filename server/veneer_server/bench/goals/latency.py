"""G1 and G11: the first token of a long prompt, and the start of the server."""

import statistics

from veneer_server.bench.clients.bench_serve import Work
from veneer_server.bench.goals.site import Site
from veneer_server.bench.goals.verdicts import Figures

_PROMPT_TOKENS = 512
_PAIRS = 3


def first_token(site: Site) -> Figures:
    """Return the time to the first token of a long prompt with an adapter, without other load.

    Ours is also asked for the same prompts without the adapter, in turn.
    """
    site.shelf.take(["a0"], site.rank)
    site.provide(["a0"])
    site.warm(["a0"])
    if not site.is_ours:
        return {"ttft ms": _ttft_ms(site, ("a0",), site.turn)}
    models: tuple[tuple[str, ...], ...] = ((), ("a0",))
    pairs = [[_ttft_ms(site, model, 10 * site.turn + n) for model in models] for n in range(_PAIRS)]
    bases, adapters = zip(*pairs, strict=True)
    return {"base ttft ms": statistics.median(bases), "ttft ms": statistics.median(adapters)}


def _ttft_ms(site: Site, adapters: tuple[str, ...], seed: int) -> float:
    work = Work(site.sizes.first_tokens, 1, _PROMPT_TOKENS, 1, seed, adapters)
    return site.client.drive(site.running.url, work)["median_ttft_ms"]


def started(site: Site) -> Figures:
    """Return how long the start of the server took, without any adapters."""
    return {"start s": site.running.start_s}
