"""G2, G3, G4 and G10: tokens per second with and without adapters, and the API's CPU time."""

from veneer_server.bench.goals.site import Site, names
from veneer_server.bench.goals.verdicts import Figures

COUNTS = (0, 1, 8, 32)


def base(site: Site) -> Figures:
    """Return the speed of the base alone, and the CPU time of the API process for each token."""
    site.warm_base()
    return _base(site)


def mixed(site: Site) -> Figures:
    """Return the speed with eight adapters in the same batch."""
    _prepare(site, 8)
    return _with_adapters(site, 8)


def ladder(site: Site) -> Figures:
    """Return the speeds with 0, 1, 8 and 32 adapters, while all 32 are registered.

    Every other round begins with 32, so that no count always comes first.
    """
    _prepare(site, max(COUNTS))
    site.warm_base()
    counts = COUNTS if site.turn % 2 == 0 else COUNTS[::-1]
    found: dict[str, float] = {}
    for count in counts:
        found |= _with_adapters(site, count) if count else _base(site)
    return found


def _base(site: Site) -> Figures:
    before_s = site.running.cpu_s()
    result = site.drive([], seed=site.turn)
    used_s = site.running.cpu_s() - before_s
    return {
        "base tok/s": result["output_throughput"],
        "api us/token": used_s / result["total_output_tokens"] * 1e6,
    }


def _prepare(site: Site, count: int) -> None:
    chosen = names("a", count)
    site.shelf.take(chosen, site.rank)
    site.provide(chosen)


def _with_adapters(site: Site, count: int) -> Figures:
    chosen = names("a", count)
    site.warm(chosen)
    result = site.drive(chosen, seed=site.turn)
    return {f"{count} adapters tok/s": result["output_throughput"]}
