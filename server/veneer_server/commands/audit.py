"""``veneer audit``: who changed what, and whether anybody changed the log."""

from typing import Annotated

import typer

from veneer_server.auditing.entries import broken_at
from veneer_server.commands import remote
from veneer_server.commands.client import tables
from veneer_server.commands.client.failures import BadArgument, LogBroken
from veneer_server.commands.client.routes import AuditApi
from veneer_server.commands.remote import Json, Limit, print_json, print_listing

group = typer.Typer(
    help="Who changed what on a running server, and whether anybody changed the log.\n\n"
    "The commands call the server of the settings with server.api_key. They need the scope "
    "keys:admin.",
    no_args_is_help=True,
)
command = remote.commands(group, AuditApi)


@command("list")
def list_entries(api: AuditApi, limit: Limit = None, as_json: Json = False) -> None:
    """List the entries, the oldest first.

    Example: veneer audit list --json
    """
    print_listing(api.entries(limit), tables.audit_table, as_json)


@command("verify")
def verify(
    api: AuditApi,
    expect: Annotated[
        str | None,
        typer.Option(
            "--expect", metavar="NUMBER:HASH", help="An entry that you have written down."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check that no entry was changed, removed or put in between.

    It prints the number and the hash of the last entry. Keep them elsewhere: with --expect the
    next check also finds out whether the end was cut off, or everything made anew.

    Example: veneer audit verify --expect 120:9f2c...
    """
    wanted = _parse(expect)
    entries = [entry.as_json() for entry in api.entries().rows]
    broken = broken_at(entries)
    if broken is not None:
        raise LogBroken(f"The audit log is not as it was written, from entry {broken} on.")
    hashes = {entry["number"]: entry["hash"] for entry in entries}
    if wanted is not None and hashes.get(wanted[0]) != wanted[1]:
        raise LogBroken(f"The audit log is whole, but entry {wanted[0]} is not the expected one.")
    number = len(entries)
    last = hashes.get(number, "")
    if as_json:
        return print_json({"entries": number, "last": last, "whole": True})
    return typer.echo(f"{number} entries, none changed. The last is {number}:{last}")


def _parse(expect: str | None) -> tuple[int, str] | None:
    if expect is None:
        return None
    number, colon, hash_ = expect.partition(":")
    if not number.isdecimal() or not colon:
        raise BadArgument("Write --expect as NUMBER:HASH, as veneer audit verify prints it.")
    return int(number), hash_
