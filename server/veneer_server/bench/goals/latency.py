"""G1 and G11: the first token of a long prompt, and the start of the server."""

from veneer_server.bench.clients.bench_serve import Work
from veneer_server.bench.goals.site import Site
from veneer_server.bench.goals.verdicts import Figures

_PROMPT_TOKENS = 512


def first_token(site: Site) -> Figures:
    """Return the time to the first token of a long prompt with an adapter, without other load."""
    site.shelf.take(["a0"], site.rank)
    site.provide(["a0"])
    site.warm(["a0"])
    work = Work(site.sizes.first_tokens, 1, _PROMPT_TOKENS, 1, site.turn, ("a0",))
    return {"ttft ms": site.client.drive(site.running.url, work)["median_ttft_ms"]}


def started(site: Site) -> Figures:
    """Return how long the start of the server took, without any adapters."""
    return {"start s": site.running.start_s}
