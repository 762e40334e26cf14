"""``veneer usage``: what was used, by time, tenant, key and adapter."""

import time
from typing import Annotated, Any

import typer

from veneer_server.accounting.queries import WIDTHS, Group
from veneer_server.commands import remote
from veneer_server.commands.client import tables
from veneer_server.commands.client.failures import BadArgument
from veneer_server.commands.client.routes import UsageApi
from veneer_server.commands.client.times import to_seconds
from veneer_server.commands.remote import Json, print_json

group = typer.Typer()
command = remote.commands(group, UsageApi)


@command("usage")
def usage(
    api: UsageApi,
    since: Annotated[str, typer.Option("--since", help="How far back: 12h, 7d.")] = "7d",
    by: Annotated[
        list[Group] | None,
        typer.Option("--by", help="Tell sums apart by this; repeatable. Default: tenant, adapter."),
    ] = None,
    width: Annotated[str, typer.Option("--width", help="Sums for each 1m, 1h or 1d.")] = "1d",
    tenant: Annotated[
        list[str] | None, typer.Option("--tenant", help="Only of this tenant; repeatable.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what was used: requests and tokens, by day, tenant and adapter.

    It asks the server of the settings with server.api_key. A key needs the scope usage, and the
    key of a tenant reads what its tenant used.

    Example: veneer usage --since 30d --by tenant --json
    """
    if width not in WIDTHS:
        raise BadArgument("--width must be 1m, 1h or 1d.")
    groups = [str(each) for each in by or (Group.TENANT, Group.ADAPTER)]
    now = int(time.time())
    begin = (now - to_seconds(since, "--since")) // WIDTHS[width].seconds * WIDTHS[width].seconds
    asked: dict[str, Any] = {
        "start_time": max(begin, 1),
        "end_time": now + 1,
        "bucket_width": width,
        "limit": WIDTHS[width].most,
        "group_by": groups,
        **({"tenants": tenant} if tenant else {}),
    }
    found = api.usage(asked)
    if as_json:
        return print_json([bucket.as_json() for bucket in found])
    return tables.show(tables.usage_table(found, groups))
