"""One prompt to several variants, side by side, and votes for the best answer.

Votes are kept in the browser, in a place for each tenant or key, until somebody forgets them.
"""

from fastapi.responses import Response

from veneer_server.api.compare.asking import answer
from veneer_server.api.deps import read_object
from veneer_server.console.frame import Visit, is_keyless
from veneer_server.console.training.pages import form_values
from veneer_server.tenancy.principals import Principal
from veneer_server.training.rows.bounds import Bounds

PLACES = 4
"""Most variants side by side."""
_LEAST = 2
MOST_ROWS = 1000
"""Rows of votes that a browser keeps."""
MOST_NAMES = 1000
"""Names that a field offers; any other can be typed."""


async def show(visit: Visit) -> Response:
    """Return the page; ``model`` in its address fills in a name, and may stand there twice."""
    names = _names(visit)
    asked = [name[:200] for name in visit.request.query_params.getlist("model")]
    filled = (asked or names)[:PLACES]
    url = visit.request.url
    return visit.show(
        "compare.html",
        names=names[:MOST_NAMES],
        filled=filled + [""] * (PLACES - len(filled)),
        least=_LEAST,
        address=f"{url.scheme}://{url.netloc}/v1/veneer/compare",
        with_key=not is_keyless(visit.server),
        whose=_whose(visit.who),
        least_rows=Bounds().least_rows,
        most_rows=MOST_ROWS,
        **form_values(visit),
    )


async def ask(visit: Visit) -> Response:
    """Answer as ``/v1/veneer/compare`` does, to whoever is signed in."""
    body = await read_object(visit.request, visit.server)
    return await answer(visit.request, body, visit.server)


def _whose(who: Principal) -> str:
    """Return whose votes the browser shows: others who sign in with it see their own."""
    if who.tenant is not None:
        return f"tenant {who.tenant}"
    return "operator" if who.key_id is None else f"key {who.key_id}"


def _names(visit: Visit) -> list[str]:
    """Return what can be compared: the base, then what is in a slot, then the rest by name."""
    server, who = visit.server, visit.who
    base = [server.engine.model.id] if who.sees_base() else []
    levels = server.adapters.levels()
    live = [a for a in server.adapters.every() if a.live and who.sees(a.name)]
    live.sort(key=lambda a: (a.live is None or a.live.engine_name not in levels, a.name))
    return base + [adapter.name for adapter in live]
