"""The page of all rollouts, and the form that moves one."""

from urllib.parse import quote

from fastapi.responses import RedirectResponse, Response

from veneer_adapters.catalog.alias import Alias
from veneer_server.api.admin.bodies import require_alias_name
from veneer_server.api.noting.auditing import audited
from veneer_server.console.forms import read_form, text_of
from veneer_server.console.frame import Visit, terminal
from veneer_server.console.rollouts.lines import moves_of
from veneer_server.console.rollouts.shares import Side, sides_of, to_wanted
from veneer_server.console.terminal import Equal
from veneer_server.tenancy.scopes import Scope

MOST = 100
"""Rollouts that the page shows."""
MOST_MOVES = 20
SIDES = 2
"""A form moves an alias between a baseline and one canary."""


async def show(visit: Visit) -> Response:
    """Return every alias that shares its requests between revisions."""
    found = _shared(visit)
    return visit.show(
        "rollouts_part.html" if visit.is_part else "rollouts.html",
        rollouts=[await _whole(visit, *one) for one in found[:MOST]],
        in_all=len(found),
        may_change=visit.who.may(Scope.ADAPTERS_WRITE),
        who=visit.who,
    )


async def move(visit: Visit) -> Response:
    """Move an alias as the form says, if nobody moved it meanwhile.

    Raises:
        AliasMoved: somebody did; nothing moved.
        AdapterNotFound, NotOwned: the adapter is not there for who asks, or not theirs.
        AdapterRejected: a target does not exist or cannot serve.
        InvalidRequest: a field has an impossible value.
    """
    form, server = await read_form(visit.request), visit.server
    name, alias = text_of(form, "name"), require_alias_name(text_of(form, "alias"))
    server.adapters.require(name, visit.who.sees)
    visit.who.require_owner(name)
    wanted = to_wanted(form)
    targets = [[target.revision, target.weight] for target in wanted.targets]
    async with audited(visit.request, server, "alias.move", f"{name}@{alias}", targets=targets):
        await server.adapters.move(name, alias, wanted)
    to = "rollouts" if len(targets) > 1 else f"variants/{quote(name)}"
    return RedirectResponse(f"{visit.root}/{to}", 303)


async def _whole(
    visit: Visit, name: str, alias: Alias, sides: list[Side]
) -> tuple[str, Alias, list[Side], list[Alias], dict[str, Equal]]:
    moves = (await visit.server.adapters.history(name, alias.name))[:MOST_MOVES]
    equals = moves_of(terminal(visit), name, alias) if len(sides) == SIDES else {}
    return name, alias, sides, moves, equals


def _shared(visit: Visit) -> list[tuple[str, Alias, list[Side]]]:
    server = visit.server
    return [
        (adapter.name, alias, sides_of(alias, server.guarding.tallies(adapter.name, alias.name)))
        for adapter in server.adapters.every()
        if visit.who.sees(adapter.name)
        for alias in sorted(adapter.aliases.values(), key=lambda alias: alias.name)
        if len(alias.targets) > 1
    ]
