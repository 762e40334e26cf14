"""``veneer adapters``: read the arguments, call a running server, print its answer."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from veneer_adapters.names import LIVE
from veneer_server.commands import check as adapters_check
from veneer_server.commands import remote
from veneer_server.commands.client import progress, tables, targets
from veneer_server.commands.client.documents import Adapter, Alias, Revision
from veneer_server.commands.client.failures import BadArgument, ClientError
from veneer_server.commands.client.routes import AdaptersApi
from veneer_server.commands.client.watching import outcome, watch
from veneer_server.commands.remote import Json, Limit, print_json, print_listing

group = typer.Typer(
    help="Look at the adapters of a running server, and change them.\n\n"
    "An adapter is a LoRA that requests name in `model`. "
    "A revision is one content of an adapter that never changes; revisions are numbered from 1, "
    "and the first one is written pirate@1. "
    "An alias such as `live` is a movable name for a revision: `publish` moves `live` to a new "
    "revision, and `rollback` moves it back.\n\n"
    "The commands call the server of the settings (server.host, server.port, server.api_key). "
    "To call another server, use --url and --key.",
    no_args_is_help=True,
)

group.command("check")(adapters_check.check)

command = remote.commands(group, AdaptersApi)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the adapter, as in `model`.")]
AliasName = Annotated[
    str, typer.Argument(metavar="NAME@ALIAS", help="Name of the alias; NAME alone means NAME@live.")
]
SourceText = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="A folder on the server's machine, inside its adapter folders; or a URL: "
        "hf://ORG/NAME@REV, https://HOST/FOLDER/, s3://, gs://, az://.",
    ),
]
NoEffect = Annotated[
    bool, typer.Option("--allow-no-effect", help="Serve the adapter even if it changes no answer.")
]
Wait = Annotated[float, typer.Option("--timeout", min=0, help="Seconds to wait for the server.")]


@command("list")
def list_adapters(api: AdaptersApi, limit: Limit = None, as_json: Json = False) -> None:
    """List all adapters with their states and sources.

    Use it to see what the server can serve, and why an adapter failed.

    Example: veneer adapters list --json
    """
    print_listing(api.adapters(limit), tables.adapters_table, as_json)


@command("show")
def show(api: AdaptersApi, name: Name, as_json: Json = False) -> None:
    """Show one adapter with its aliases and its live revision.

    Use it to see which revision answers now, or how far the work on new content is.

    Example: veneer adapters show pirate
    """
    adapter = api.adapter(name)
    if as_json:
        return print_json(adapter.as_json())
    shown = [tables.adapter_facts(adapter)]
    if adapter.aliases:
        shown.append(tables.aliases_table(adapter.aliases.values()))
    if adapter.live is not None:
        shown.append(tables.revision_facts(name, api.revision(name, adapter.live)))
    return tables.show(*shown)


@command("add")
def add(
    api: AdaptersApi,
    name: Name,
    source: SourceText,
    pin: Annotated[bool, typer.Option("--pin", help="Keep it in its slot for good.")] = False,
    allow_no_effect: NoEffect = False,
    timeout: Wait = 600.0,
    as_json: Json = False,
) -> None:
    """Add a new adapter from a source; its content becomes revision 1.

    The server fetches the files, verifies them and proves the adapter in the engine. The command
    waits for that. Ctrl-C ends only the waiting; the server goes on.

    Example: veneer adapters add pirate hf://acme/pirate-lora@v1 --pin
    """
    at = targets.to_source(source)

    def begin() -> None:
        api.add(name, at, pinned=pin, allow_no_effect=allow_no_effect)

    with progress.shown(name) as look:
        adapter = watch(begin, api, name, timeout, look)
    revision = outcome(api, None, adapter, LIVE)
    _print_made(name, adapter if as_json else None, revision)


@command("publish")
def publish(
    api: AdaptersApi,
    name: Name,
    source: SourceText,
    alias: Annotated[str, typer.Option("--alias", help="Alias that moves to the revision.")] = LIVE,
    no_alias: Annotated[
        bool, typer.Option("--no-alias", help="Move no alias; only NAME@REVISION names it.")
    ] = False,
    allow_no_effect: NoEffect = False,
    timeout: Wait = 600.0,
    as_json: Json = False,
) -> None:
    """Publish new content of an adapter as its next revision.

    `live` moves to the revision as soon as the engine has proved it. Running answers finish on
    the revision that they began with. The command waits for that. Ctrl-C ends only the waiting;
    the server goes on.

    Example: veneer adapters publish pirate ./out/pirate --no-alias
    """
    at = targets.to_source(source)
    moved = None if no_alias else alias
    before = api.adapter(name)

    def begin() -> None:
        api.publish(name, at, alias=moved, allow_no_effect=allow_no_effect)

    with progress.shown(name) as look:
        adapter = watch(begin, api, name, timeout, look)
    revision = outcome(api, before, adapter, moved)
    _print_made(name, revision or adapter if as_json else None, revision)


@command("upload")
def upload(
    api: AdaptersApi,
    name: Name,
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="A folder on this machine, with both files.")
    ],
    alias: Annotated[str, typer.Option("--alias", help="Alias that moves to the revision.")] = LIVE,
    allow_no_effect: NoEffect = False,
    as_json: Json = False,
) -> None:
    """Send an adapter's two files to the server and publish them; the name may be new.

    Use it when the server runs on another machine. The command returns when the engine has proved
    the revision and the alias points to it.

    Example: veneer adapters upload pirate ./out/pirate
    """
    made = api.upload(name, folder, alias=alias, allow_no_effect=allow_no_effect)
    _print_made(name, made if as_json else None, made)


@command("revisions")
def revisions(api: AdaptersApi, name: Name, limit: Limit = None, as_json: Json = False) -> None:
    """List all revisions of an adapter, the newest first.

    Use it to find the number of a revision, for instance before you move an alias.

    Example: veneer adapters revisions pirate
    """
    print_listing(api.revisions(name, limit), tables.revisions_table, as_json)


@command("alias")
def move_alias(  # noqa: PLR0913, PLR0917 - one parameter for each option
    api: AdaptersApi,
    name: AliasName,
    revision: Annotated[
        int | None,
        typer.Argument(
            metavar="REVISION", min=1, help="Revision that the alias points to from now on."
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option("--split", help="Revisions with weights, the baseline first: 3=90,4=10."),
    ] = None,
    sticky: Annotated[
        Literal["user", "key"] | None,
        typer.Option("--sticky", help="With --split: each user (or key) stays on one revision."),
    ] = None,
    guard_requests: Annotated[
        int | None,
        typer.Option(
            "--guard-requests", min=1, help="With --split: judge after this many requests."
        ),
    ] = None,
    guard_margin: Annotated[
        float | None,
        typer.Option(
            "--guard-margin", min=0, max=1, help="Take the canary back if it fails this much more."
        ),
    ] = None,
    if_version: Annotated[
        int | None, typer.Option("--if-version", help="Move it only if it still has this version.")
    ] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Remove the alias.")] = False,
    as_json: Json = False,
) -> None:
    """Move, split or remove an alias. Without a REVISION or an option, show it.

    With --split, an alias sends a share of its requests to each of several revisions. With a
    guard, the server moves the alias back when a new revision fails more often than the first
    one. A move is atomic: running answers finish on the revision that they began with, and new
    requests follow the alias.

    Example: veneer adapters alias pirate --split 3=90,4=10 --sticky user --guard-requests 200
    """
    adapter, alias = targets.to_alias(name)
    body = targets.to_move(revision, split, sticky, guard_requests, guard_margin)
    if delete:
        if body is not None or if_version is not None or "@" not in name:
            raise BadArgument("--delete needs NAME@ALIAS and takes no other argument.")
        api.delete_alias(adapter, alias)
        typer.echo(f"The alias {adapter}@{alias} is removed.")
    elif body is not None:
        _print_alias(api.move(adapter, alias, body, if_version), as_json)
    elif if_version is not None:
        raise BadArgument("--if-version needs a REVISION or --split.")
    else:
        _show_aliases(api.adapter(adapter), alias if "@" in name else None, as_json)


@command("rollback")
def rollback(api: AdaptersApi, name: AliasName, as_json: Json = False) -> None:
    """Move an alias back to what it pointed to before.

    Use it when a new revision is worse than the last one.

    Example: veneer adapters rollback pirate
    """
    _print_alias(api.rollback(*targets.to_alias(name)), as_json)


@command("history")
def history(api: AdaptersApi, name: AliasName, limit: Limit = None, as_json: Json = False) -> None:
    """List what an alias pointed to after each move, the newest first.

    Example: veneer adapters history pirate@canary
    """
    adapter, alias = targets.to_alias(name)
    print_listing(api.history(adapter, alias, limit), tables.aliases_table, as_json)


@command("pin")
def pin(api: AdaptersApi, name: Name) -> None:
    """Keep an adapter in its device slot, so that its requests never wait for a load.

    The pin follows the live revision, and it stays after a restart of the server.

    Example: veneer adapters pin pirate
    """
    api.pin(name, True)
    typer.echo(f"{name} is pinned.")


@command("unpin")
def unpin(api: AdaptersApi, name: Name) -> None:
    """Let the server evict an adapter from its slot again.

    Example: veneer adapters unpin pirate
    """
    api.pin(name, False)
    typer.echo(f"{name} is no longer pinned.")


@command("load")
def load_adapter(api: AdaptersApi, name: Name) -> None:
    """Load an adapter into a device slot now, so that its next request does not wait.

    Example: veneer adapters load pirate
    """
    api.load(name)
    typer.echo(f"{name} is loaded.")


@command("unload")
def unload_adapter(api: AdaptersApi, name: Name) -> None:
    """Take an adapter out of its slots, until the next request asks for it.

    Example: veneer adapters unload pirate
    """
    api.unload(name)
    typer.echo(f"{name} leaves its slots as soon as its running requests have ended.")


@command("rm")
def remove(
    api: AdaptersApi,
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
) -> None:
    """Remove an adapter with all its revisions and aliases.

    Running requests finish on it. The command asks first, unless you give --yes.

    Example: veneer adapters rm pirate --yes
    """
    targets.to_name(name)
    if not yes:
        if not sys.stdin.isatty():
            raise BadArgument("This is no terminal, so nobody can confirm; add --yes to remove it.")
        typer.confirm(f"Remove {name} with all its revisions and aliases?", abort=True)
    api.delete(name)
    typer.echo(f"{name} is removed.")


def _show_aliases(adapter: Adapter, alias: str | None, as_json: bool) -> None:
    found = [each for each in adapter.aliases.values() if alias in (None, each.alias)]
    if alias is not None and not found:
        raise ClientError(f"The adapter {adapter.name} has no alias {alias}.")
    if as_json:
        shown = [each.as_json() for each in found]
        return print_json(shown[0] if alias else {"object": "list", "data": shown})
    return tables.show(tables.aliases_table(found))


def _print_alias(alias: Alias, as_json: bool) -> None:
    if as_json:
        return print_json(alias.as_json())
    return typer.echo(tables.alias_line(alias))


def _print_made(name: str, document: Adapter | Revision | None, revision: Revision | None) -> None:
    if document is not None:
        print_json(document.as_json())
    elif revision is not None:
        tables.show(tables.revision_facts(name, revision))
    else:
        typer.echo(f"{name} already has a revision with these files, so there is no new one.")
