"""G7: does it matter how many adapters are registered, when the same ones are in use?"""

import shutil

from veneer_server.bench.goals import Figures
from veneer_server.bench.site import Site, names

_IN_USE = 64


def zipf(chosen: list[str], length: int) -> list[str]:
    """Return ``length`` names in which the n-th is about n times rarer than the first."""
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
    """Return the speed with 64 adapters in use, before and after 1000 are registered.

    Afterwards only the 64 are, so that it can be measured again.
    """
    used = names("a", _IN_USE)
    tiny = names("tiny", site.sizes.registered - _IN_USE)
    site.shelf.take(used, site.rank)
    site.shelf.take_tiny(tiny)
    site.provide(used)
    site.warm(used)
    mix = zipf(used, 4 * _IN_USE)
    few = site.drive(mix, seed=site.turn)["output_throughput"]
    site.provide(tiny)
    many = site.drive(mix, seed=site.turn)["output_throughput"]
    for name in tiny:
        shutil.rmtree(site.rig.folder / "adapters" / name)
    site.until_gone(tiny)
    return {"64 registered tok/s": few, "1000 registered tok/s": many}
