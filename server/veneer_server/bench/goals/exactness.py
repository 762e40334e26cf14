"""G9: an answer does not depend on the other requests in the batch."""

from veneer_server.bench.goals.site import Site, completion, names
from veneer_server.bench.goals.verdicts import Figures
from veneer_server.bench.peers.adapters import PLAIN
from veneer_server.bench.peers.peers import BASE

_PROMPTS, _TOKENS, _LANES, _ADAPTERS, _RANK = 100, 16, 32, 8, 8


def mixed_equal_alone(site: Site) -> Figures:
    """Return the share of answers that are the same in a mixed batch and alone.

    ``changed`` is the share of adapters whose answer differs from the base's. If it were 0, equal
    answers would prove nothing.
    """
    chosen = names("plain", _ADAPTERS)
    site.shelf.take(chosen, _RANK, strength=PLAIN)
    site.provide(chosen)
    models = [BASE, *chosen]
    asked = [
        completion(models[index % len(models)], 16 + index % 17, _TOKENS, seed=index)
        for index in range(_PROMPTS)
    ]
    alone = [told.text for told in site.send([asked]).answers()]
    lanes = site.send([asked[lane::_LANES] for lane in range(_LANES)]).lanes
    together = [""] * _PROMPTS
    for lane, told in enumerate(lanes):
        together[lane::_LANES] = [one.text for one in told]
    same = sum(one == other for one, other in zip(alone, together, strict=True))
    return {"equal": same / _PROMPTS, "changed": _changed(site, models)}


def _changed(site: Site, models: list[str]) -> float:
    told = site.send([[completion(model, 24, _TOKENS, seed=7) for model in models]]).answers()
    return sum(one.text != told[0].text for one in told[1:]) / (len(told) - 1)
