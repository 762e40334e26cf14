"""What was used: by day, and by tenant and adapter. A tenant's key sees what its tenant used."""

from fastapi.responses import Response

from veneer_server.accounting.queries import Group, Question
from veneer_server.api.errors import InvalidRequest
from veneer_server.console.frame import Visit, terminal
from veneer_server.console.terminal import Equal

DAYS = (7, 31)
"""How many days a page may cover."""
MOST_ROWS = 200
_DAY_S = 86_400
_ALL_S = 10**10
"""One bucket, for every time there is."""


async def show(visit: Visit) -> Response:
    """Return the page with the usage of the last days.

    Raises:
        InvalidRequest: 'days' is not one of ``DAYS``.
        AdapterUnavailable: the database cannot be read.
    """
    days, ledger, tenant = _days(visit), visit.server.ledger, visit.who.reads_usage_of()
    end = ledger.now + 1
    begin = (end // _DAY_S - (days - 1)) * _DAY_S
    by_day = await ledger.sums(Question(begin, end, _DAY_S).within(tenant))
    groups = (Group.TENANT, Group.ADAPTER)
    by_whom = await ledger.sums(Question(begin, end, _ALL_S, groups).within(tenant))
    by_whom.sort(key=lambda sums: -(sums.input_tokens + sums.output_tokens))
    known = {sums.bucket: sums for sums in by_day}
    return visit.show(
        "usage.html",
        days=[(day, known.get(day)) for day in range(begin, end, _DAY_S)],
        choices=DAYS,
        chosen=days,
        by_whom=by_whom[:MOST_ROWS],
        in_all=len(by_whom),
        equal=Equal(terminal(visit).curl("GET", f"/v1/usage?start_time={begin}"), "veneer usage"),
    )


def _days(visit: Visit) -> int:
    text = visit.request.query_params.get("days", str(DAYS[0]))
    if text not in map(str, DAYS):
        raise InvalidRequest(f"'days' must be one of {', '.join(map(str, DAYS))}.", param="days")
    return int(text)
