"""From which adapters a job can go on, and in which shape it does. Pure."""

from collections.abc import Collection, Mapping
from pathlib import PurePosixPath
from typing import Any

from veneer_adapters.catalog.revision import Revision
from veneer_adapters.errors import quoted
from veneer_server.training.job import Lora
from veneer_server.training.jobs.errors import JobRefused
from veneer_server.training.jobs.records import Origin


def origin_of(revision: Revision) -> Origin:
    """Return what a recipe says of the revision from which its job goes on."""
    return Origin(f"{revision.adapter}@{revision.number}", f"sha256:{revision.digest}")


def shape_of(revision: Revision) -> Lora:
    """Return the shape of the adapter, which stays as it is."""
    facts = revision.manifest
    alpha = int(facts.alpha) if facts.alpha.is_integer() else facts.alpha
    return Lora(r=facts.rank, alpha=alpha, target_modules=facts.target_modules)


def require_usable(
    revision: Revision, asked: Mapping[str, Any], *, bases: Collection[str], most_rank: int
) -> None:
    """Return if a job can go on from ``revision`` in the shape that is ``asked``.

    ``bases`` are all names of the base model.

    Raises:
        JobRefused: ``param`` names what is in the way.
    """
    name, facts = quoted(origin_of(revision).model), revision.manifest
    if facts.base_name is not None and _is_another(facts.base_name, bases):
        raise JobRefused(
            f"{name} says that it was trained for {quoted(facts.base_name)}, and this server has"
            f" {quoted(min(bases))}: training goes on with the same base model only.",
            param="model",
        )
    if facts.rank > most_rank:
        raise JobRefused(
            f"{name} has rank {facts.rank}, and this server serves adapters up to rank"
            f" {most_rank} as they are; see adapters.max_rank.",
            param="model",
        )
    shape = shape_of(revision)
    for member, value in asked.items():
        if member != "dropout" and _differs(value, has := getattr(shape, member)):
            raise JobRefused(
                f"{name} has {member} {_told(has)}, and a job that goes on from it cannot have"
                f" {_told(value)}: leave 'lora.{member}' out.",
                param=f"lora.{member}",
            )


def _differs(asked: object, has: object) -> bool:
    if isinstance(asked, tuple) and isinstance(has, tuple):
        return set(asked) != set(has)
    return asked != has


def _told(value: object) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def _is_another(name: str, bases: Collection[str]) -> bool:
    """Return whether ``name`` is of another model than ``bases``, as far as names tell.

    A path of the machine where it was trained tells nothing.
    """
    if name.startswith(("/", ".", "~")):
        return False
    return _last(name) not in {_last(base) for base in bases}


def _last(name: str) -> str:
    return PurePosixPath(name).name.casefold()
