"""G8: one device slot, an adapter that keeps it busy, and a request for another adapter."""

from veneer_server.bench.goals.site import Site, completion
from veneer_server.bench.goals.verdicts import Figures
from veneer_server.bench.peers.peers import MAX_SEQS

_TOKENS = 64


def cold_at_saturation(site: Site) -> Figures:
    """Return how long a cold request waits for its first token, and the longest service.

    A request that the server refuses counts as an infinite wait.
    """
    site.shelf.take(["a0", "a1"], site.rank)
    site.provide(["a0", "a1"])
    site.warm(["a0"])
    hot = [[completion("a0", 32, _TOKENS, seed=index)] for index in range(MAX_SEQS)]
    # One hot request runs first, so that the server is busy when the cold request comes.
    lane = [completion("a0", 32, _TOKENS, seed=99), completion("a1", 32, _TOKENS, seed=100)]
    outcome = site.send([lane], hot, strict=False)
    first, cold = outcome.lanes[0]
    services = [told.total_s for lane in outcome.background for told in lane if told.tokens]
    return {
        "cold ttft s": cold.ttft_s if cold.tokens else float("inf"),
        "service s": max(first.total_s, *services),
    }
