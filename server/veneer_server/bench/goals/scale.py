"""G7: whether registered adapters that nobody uses make the others slower."""

import shutil

from veneer_server.bench.clients.bench_serve import Work
from veneer_server.bench.goals.site import Site, names
from veneer_server.bench.goals.verdicts import Figures

_IN_USE = 64
_PROMPTS, _TOKENS_IN, _TOKENS_OUT = 96, 64, 48


def zipf(chosen: list[str], length: int) -> list[str]:
    """Return ``length`` names; the n-th of ``chosen`` is about n times rarer than the first."""
    weights = [1 / (index + 1) for index in range(len(chosen))]
    due = [0.0] * len(chosen)
    found = []
    for _ in range(length):
        due = [old + weight for old, weight in zip(due, weights, strict=True)]
        first = max(range(len(chosen)), key=due.__getitem__)
        due[first] -= sum(weights)
        found.append(chosen[first])
    return found


def registered(site: Site) -> Figures:
    """Return the speed with 64 adapters in use, with 64 and with 10,000 registered.

    The speed with 64 is the mean of a measurement before and one after that with 10,000.
    """
    used = names("a", _IN_USE)
    tiny = names("tiny", site.sizes.wide - _IN_USE)
    site.shelf.take(used, site.rank)
    site.shelf.take_tiny(tiny)
    site.provide(used)
    site.warm(used)
    few = _speed(site, used)
    site.provide(tiny)
    many = _speed(site, used)
    for name in tiny:
        shutil.rmtree(site.rig.folder / "adapters" / name)
    site.until_gone(tiny)
    few_again = _speed(site, used)
    return {"64 registered tok/s": (few + few_again) / 2, "all registered tok/s": many}


def _speed(site: Site, used: list[str]) -> float:
    mix = tuple(zipf(used, _PROMPTS))
    lengths = (site.sizes.concurrency, _TOKENS_IN, _TOKENS_OUT, site.turn)
    return site.client.drive(site.running.url, Work(_PROMPTS, *lengths, mix))["output_throughput"]
