"""G5 and G6: what a load costs the request that waits for it, and all other requests."""

import statistics
from collections.abc import Sequence

from veneer_server.bench.clients.load import Outcome, Request, Told
from veneer_server.bench.goals.site import Site, completion, median_ms, names
from veneer_server.bench.goals.verdicts import Figures
from veneer_server.bench.peers.peers import BASE

_STREAMS, _LOADS, _BIG = 8, 50, 64


def hot_load(site: Site) -> Figures:
    """Return how much longer a request waits for an adapter in no slot than for one in a slot.

    The adapters have served before and left their slots again. The very first request for each
    adapter waits longer, because the engine must prove it first. That wait is another figure, and
    no goal uses it.
    """
    cold = names("cold", site.sizes.cold)
    site.shelf.take(cold, site.rank)
    site.provide(cold)
    first = _ask(site, cold, 1)
    for name in cold:
        site.unload(name)
    later = _ask(site, cold, 3)
    warm = later[2::3]
    waited = [told.cold_ms or 0.0 for told in later[::3]]
    return {
        "cold minus warm ms": _excess_ms(later[::3], warm),
        "cold start ms": statistics.median(waited),
        "first-ever minus warm ms": _excess_ms(first, warm),
    }


def _ask(site: Site, asked: Sequence[str], times: int) -> list[Told]:
    # All requests have the same prompt, so that only the adapter's state differs.
    lane = [completion(name, 16, 1, seed=1) for name in asked for _ in range(times)]
    return site.send([[completion(BASE, 16, 1, seed=1), *lane]]).answers()[1:]


def _excess_ms(cold: Sequence[Told], warm: Sequence[Told]) -> float:
    return median_ms([c.ttft_s - w.ttft_s for c, w in zip(cold, warm, strict=True)])


def load_calls(site: Site) -> Figures:
    """Return how long one call of ``/v1/load_lora_adapter`` takes."""
    called = names("call", site.sizes.cold)
    site.shelf.take(called, site.rank)
    return {"load call ms": median_ms([site.load_call(name) for name in called])}


def registering(site: Site) -> Figures:
    """Return how long it takes until requests may name each of 1000 small adapters.

    For our server, their folders appear in the watched folder. For vLLM, API calls register some
    of them, and the time is extrapolated to 1000.
    """
    sizes = site.sizes
    tiny = names("tiny", sizes.registered if site.is_ours else sizes.called)
    site.shelf.take_tiny(tiny)
    return {"registering s": site.provide(tiny) * sizes.registered / len(tiny)}


def stall(site: Site) -> Figures:
    """Return how much longer the longest gap of 8 streams is during 50 loads than a calm p99 gap.

    A request for one token follows each load, so that the adapter gets into its slot on both
    servers.
    """
    big = names("big", _LOADS)
    site.shelf.take_alike(big, _BIG)
    if site.is_ours:
        site.provide(big)
    streams = [[completion(BASE, 16, 400, seed=index)] for index in range(_STREAMS)]
    calm = [[completion(BASE, 16, 128, seed=index)] for index in range(_STREAMS)]
    site.send(calm)
    quiet = _gaps(site.send(calm))
    loads = [request for name in big for request in _load(site, name)]
    loud = _gaps(site.send([loads], streams))
    p99_s = statistics.quantiles(quiet, n=100)[98]
    return {
        "stall ms": max(0.0, max(loud) - p99_s) * 1000,
        "calm p99 ms": p99_s * 1000,
        "longest gap ms": max(loud) * 1000,
    }


def _load(site: Site, name: str) -> list[Request]:
    use = completion(name, 8, 1, seed=0)
    if site.is_ours:
        return [use]
    path = str(site.shelf.folder / name)
    return [("/v1/load_lora_adapter", {"lora_name": name, "lora_path": path}), use]


def _gaps(outcome: Outcome) -> list[float]:
    lanes = outcome.background or outcome.lanes
    return [gap for lane in lanes for told in lane for gap in told.itl_s]
