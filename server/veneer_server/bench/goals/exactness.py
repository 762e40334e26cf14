"""G9 and G9b: an answer does not depend on the other requests in the batch."""

from collections.abc import Sequence

from veneer_server.bench.clients.load import Request
from veneer_server.bench.goals.site import Site, completion, names
from veneer_server.bench.goals.verdicts import Figures
from veneer_server.bench.peers.adapters import PLAIN
from veneer_server.bench.peers.peers import BASE

_PROMPTS, _TOKENS, _LANES, _ADAPTERS, _RANK = 100, 16, 32, 8, 8
_FEW, _FIRST, _EACH = 2, 8, 32
"""Adapters, tokens and prompts of each model for the share that company changes."""


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
    return {"equal": sum(_same(site, asked)) / _PROMPTS, "changed": _changed(site, models)}


def changed_in_company(site: Site) -> Figures:
    """Return the share of answers of 8 tokens that company changes: the worst model's.

    The models are the base and two adapters, and each gets the same prompts, in turn.
    """
    chosen = names("plain", _FEW)
    site.shelf.take(chosen, _RANK, strength=PLAIN)
    site.provide(chosen)
    models = [BASE, *chosen]
    asked = [
        completion(model, 16 + number % 17, _FIRST, seed=number)
        for number in range(_EACH)
        for model in models
    ]
    same = _same(site, asked)
    shares = [1 - sum(same[first :: len(models)]) / _EACH for first in range(len(models))]
    return {"changed in company": max(shares)}


def _same(site: Site, asked: Sequence[Request]) -> list[bool]:
    """Return for each request whether its answer is the same alone and with 31 others."""
    alone = [told.text for told in site.send([asked]).answers()]
    lanes = site.send([asked[lane::_LANES] for lane in range(_LANES)]).lanes
    together = [""] * len(asked)
    for lane, told in enumerate(lanes):
        together[lane::_LANES] = [one.text for one in told]
    return [one == other for one, other in zip(alone, together, strict=True)]


def _changed(site: Site, models: list[str]) -> float:
    told = site.send([[completion(model, 24, _TOKENS, seed=7) for model in models]]).answers()
    return sum(one.text != told[0].text for one in told[1:]) / (len(told) - 1)
