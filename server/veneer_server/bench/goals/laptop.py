"""G12: the speed that a person with a laptop sees, compared with llama.cpp."""

import statistics
from collections.abc import Sequence

from veneer_server.bench.clients.load import Request
from veneer_server.bench.goals.site import Site, completion, names
from veneer_server.bench.goals.verdicts import Figures
from veneer_server.bench.peers.peers import BASE

_IN, _OUT, _STREAMS, _ADAPTERS = 100, 64, 16, 8


def alone_and_together(site: Site) -> Figures:
    """Return the time of one answer, and the speed of sixteen streams side by side."""
    site.send([[_ask(site, None, 99)]])
    one = site.send([[_ask(site, None, seed) for seed in range(3)]]).answers()
    return {
        "one stream s": statistics.median(told.total_s for told in one),
        "16 streams tok/s": _speed(site, [None] * _STREAMS),
    }


def over_adapters(site: Site) -> Figures:
    """Return the speed of sixteen streams over eight adapters.

    llama.cpp does not mix adapters in a batch: it serves the requests of one adapter at a time.
    """
    chosen = names("a", _ADAPTERS)
    if site.is_ours:
        site.shelf.take(chosen, site.rank)
        site.provide(chosen)
        site.warm(chosen)
    asked = [index % _ADAPTERS for index in range(_STREAMS)]
    return {"16 streams, 8 adapters tok/s": _speed(site, asked)}


def _speed(site: Site, adapters: Sequence[int | None]) -> float:
    lanes = [[_ask(site, adapter, 10 + lane)] for lane, adapter in enumerate(adapters)]
    outcome = site.send(lanes)
    return sum(told.tokens for told in outcome.answers()) / outcome.total_s


def _ask(site: Site, adapter: int | None, seed: int) -> Request:
    if adapter is None:
        return completion(BASE, _IN, _OUT, seed=seed)
    if site.is_ours:
        return completion(f"a{adapter}", _IN, _OUT, seed=seed)
    return completion(BASE, _IN, _OUT, seed=seed, lora=[{"id": adapter, "scale": 1.0}])
