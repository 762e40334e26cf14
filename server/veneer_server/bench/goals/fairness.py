"""G8: one slot, an adapter that keeps it busy, and somebody who asks for another one."""

from veneer_server.bench.goals.site import Site, completion
from veneer_server.bench.goals.verdicts import Figures
from veneer_server.bench.peers.peers import MAX_SEQS

_TOKENS = 64


def cold_at_saturation(site: Site) -> Figures:
    """Return the wait of a cold request for its first token, and the longest service.

    A request that is refused in the end waited for ever.
    """
    site.shelf.take(["a0", "a1"], site.rank)
    site.provide(["a0", "a1"])
    site.warm(["a0"])
    hot = [[completion("a0", 32, _TOKENS, seed=index)] for index in range(MAX_SEQS)]
    # After one hot request from beginning to end the server is busy with the others.
    lane = [completion("a0", 32, _TOKENS, seed=99), completion("a1", 32, _TOKENS, seed=100)]
    outcome = site.send([lane], hot, strict=False)
    first, cold = outcome.lanes[0]
    services = [told.total_s for lane in outcome.background for told in lane if told.tokens]
    return {
        "cold ttft s": cold.ttft_s if cold.tokens else float("inf"),
        "service s": max(first.total_s, *services),
    }
