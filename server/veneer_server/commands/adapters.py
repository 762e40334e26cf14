"""``veneer adapters``: parse what was typed, call a running server, print what it answers."""

import functools
import inspect
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from stamina.instrumentation import set_on_retry_hooks

from veneer_adapters.names import LIVE
from veneer_server.commands import check as adapters_check
from veneer_server.commands.client import progress, tables, targets
from veneer_server.commands.client.connection import Connection
from veneer_server.commands.client.documents import Adapter, Alias, Revision
from veneer_server.commands.client.failures import BadArgument, ClientError, LeftRunning
from veneer_server.commands.client.routes import AdaptersApi, Listing
from veneer_server.commands.client.watching import outcome, watch
from veneer_server.commands.terminal import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_USAGE,
    ConfigOption,
    failure,
    load,
)

group = typer.Typer(
    help="Add, publish, move and look at the adapters of a running server.\n\n"
    "An adapter is a LoRA that requests name in `model`. "
    "A revision is one unchangeable content of it, numbered from 1 and written pirate@1. "
    "An alias such as `live` is a movable name for a revision: publishing moves `live` to a new "
    "one, rolling back moves it to where it was.\n\n"
    "The server is the one the settings describe (server.host, server.port, server.api_key); "
    "--url and --key name another.",
    no_args_is_help=True,
)

group.command("check")(adapters_check.check)

_SERVER = "Server"
UrlOption = Annotated[
    str | None,
    typer.Option("--url", help="Where it is. Default: from the settings.", rich_help_panel=_SERVER),
]
KeyOption = Annotated[
    str | None,
    typer.Option("--key", help="Its key. Default: server.api_key.", rich_help_panel=_SERVER),
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The adapter, as in `model`.")]
AliasName = Annotated[
    str, typer.Argument(metavar="NAME@ALIAS", help="The alias; NAME alone means NAME@live.")
]
SourceText = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="A folder on the server's machine inside its adapter roots, or a URL: "
        "hf://ORG/NAME@REV, https://HOST/FOLDER/, s3://, gs://, az://.",
    ),
]
NoEffect = Annotated[
    bool, typer.Option("--allow-no-effect", help="Serve it even if it changes no answer.")
]
Wait = Annotated[float, typer.Option("--timeout", min=0, help="Seconds to watch it for.")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="At most so many rows.")]
Json = Annotated[bool, typer.Option("--json", help="For programs: JSON on standard output.")]


@contextmanager
def _server(url: str | None, key: str | None, config: Path | None) -> Iterator[AdaptersApi]:
    settings = load(config, {}).server
    known_key = settings.api_key.get_secret_value() if settings.api_key else None
    set_on_retry_hooks(())  # a repeated request is no event to tell the user of
    try:
        address = url or targets.server_url(settings.host, settings.port)
        with Connection(address, key or known_key) as connection:
            yield AdaptersApi(connection)
    except ClientError as error:
        codes = {BadArgument: EXIT_USAGE, LeftRunning: EXIT_INTERRUPTED}
        raise failure(str(error), codes.get(type(error), EXIT_FAILED)) from error
    except KeyboardInterrupt:
        raise failure("Stopped.", EXIT_INTERRUPTED) from None


def command(name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a command whose first argument is the server; it gets the options that name one."""

    def register(body: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(body)
        def run(url: str | None, key: str | None, config: Path | None, **given: Any) -> None:
            with _server(url, key, config) as api:
                body(api, **given)

        own = list(inspect.signature(body).parameters.values())[1:]
        shared = [
            inspect.Parameter(option, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)
            for option, kind in (("url", UrlOption), ("key", KeyOption), ("config", ConfigOption))
        ]
        # Typer reads the signature; there is no other way to give commands the same options.
        run.__signature__ = inspect.Signature([*own, *shared])  # type: ignore[attr-defined]
        group.command(name)(run)
        return body

    return register


@command("list")
def list_adapters(api: AdaptersApi, limit: Limit = None, as_json: Json = False) -> None:
    """Show every adapter, its state and its source.

    Example: veneer adapters list --json
    """
    _print_listing(api.adapters(limit), tables.adapters_table, as_json)


@command("show")
def show(api: AdaptersApi, name: Name, as_json: Json = False) -> None:
    """Show one adapter, its aliases and its live revision.

    Example: veneer adapters show pirate
    """
    adapter = api.adapter(name)
    if as_json:
        return _print_json(adapter.as_json())
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
    pin: Annotated[bool, typer.Option("--pin", help="Keep it in a slot.")] = False,
    allow_no_effect: NoEffect = False,
    timeout: Wait = 600.0,
    as_json: Json = False,
) -> None:
    """Add an adapter from a source, as revision 1.

    The server fetches and verifies it. Ctrl-C stops the watching, not the server's work.

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
    alias: Annotated[str, typer.Option("--alias", help="The alias to move to it.")] = LIVE,
    no_alias: Annotated[
        bool, typer.Option("--no-alias", help="Move none: it answers as NAME@REVISION only.")
    ] = False,
    allow_no_effect: NoEffect = False,
    timeout: Wait = 600.0,
    as_json: Json = False,
) -> None:
    """Publish new content as the next revision.

    `live` moves only once the revision has proven itself in the engine; running answers finish on
    the revision they began with. Ctrl-C stops the watching, not the server's work.

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


@command("revisions")
def revisions(api: AdaptersApi, name: Name, limit: Limit = None, as_json: Json = False) -> None:
    """Show every revision of an adapter.

    Example: veneer adapters revisions pirate
    """
    _print_listing(api.revisions(name, limit), tables.revisions_table, as_json)


@command("alias")
def move_alias(  # noqa: PLR0913, PLR0917 - one parameter for each option
    api: AdaptersApi,
    name: AliasName,
    revision: Annotated[
        int | None, typer.Argument(metavar="REVISION", min=1, help="Where it shall point.")
    ] = None,
    split: Annotated[
        str | None,
        typer.Option("--split", help="Several, the baseline first, with weights: 3=90,4=10."),
    ] = None,
    sticky: Annotated[
        Literal["user", "key"] | None,
        typer.Option("--sticky", help="With a split: each user, or each key, stays on one."),
    ] = None,
    guard_requests: Annotated[
        int | None,
        typer.Option("--guard-requests", min=1, help="With a split: judge it after so many."),
    ] = None,
    guard_margin: Annotated[
        float | None,
        typer.Option(
            "--guard-margin", min=0, max=1, help="Take it back when it fails so much more: 0.05."
        ),
    ] = None,
    if_version: Annotated[
        int | None, typer.Option("--if-version", help="Only if it still has this version.")
    ] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Remove the alias.")] = False,
    as_json: Json = False,
) -> None:
    """Move, split or remove an alias; without a REVISION, show it.

    A move is atomic: running answers finish where they began, new ones follow the alias.

    Example: veneer adapters alias pirate --split 3=90,4=10 --sticky user --guard-requests 200
    """
    adapter, alias = targets.to_alias(name)
    body = targets.to_move(revision, split, sticky, guard_requests, guard_margin)
    if delete:
        if body is not None or if_version is not None or "@" not in name:
            raise BadArgument("--delete goes with NAME@ALIAS and nothing else.")
        api.delete_alias(adapter, alias)
        typer.echo(f"{adapter}@{alias} is no more.")
    elif body is not None:
        _print_alias(api.move(adapter, alias, body, if_version), as_json)
    elif if_version is not None:
        raise BadArgument("--if-version goes with a REVISION or a --split.")
    else:
        _show_aliases(api.adapter(adapter), alias if "@" in name else None, as_json)


@command("rollback")
def rollback(api: AdaptersApi, name: AliasName, as_json: Json = False) -> None:
    """Move an alias back to where it pointed before.

    Example: veneer adapters rollback pirate
    """
    _print_alias(api.rollback(*targets.to_alias(name)), as_json)


@command("history")
def history(api: AdaptersApi, name: AliasName, limit: Limit = None, as_json: Json = False) -> None:
    """Show where an alias pointed, move by move.

    Example: veneer adapters history pirate@canary
    """
    adapter, alias = targets.to_alias(name)
    _print_listing(api.history(adapter, alias, limit), tables.aliases_table, as_json)


@command("pin")
def pin(api: AdaptersApi, name: Name) -> None:
    """Keep an adapter in its slot, also after a restart.

    Example: veneer adapters pin pirate
    """
    api.pin(name, True)
    typer.echo(f"{name} is pinned.")


@command("unpin")
def unpin(api: AdaptersApi, name: Name) -> None:
    """Let an adapter leave its slot again.

    Example: veneer adapters unpin pirate
    """
    api.pin(name, False)
    typer.echo(f"{name} is not pinned.")


@command("load")
def load_adapter(api: AdaptersApi, name: Name) -> None:
    """Put an adapter into a slot ahead of its next request.

    Example: veneer adapters load pirate
    """
    api.load(name)
    typer.echo(f"{name} is loaded.")


@command("unload")
def unload_adapter(api: AdaptersApi, name: Name) -> None:
    """Take an adapter out of the slots until it is asked for.

    Example: veneer adapters unload pirate
    """
    api.unload(name)
    typer.echo(f"{name} is out of the slots as soon as its running requests are done.")


@command("rm")
def remove(
    api: AdaptersApi,
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove an adapter with its revisions and aliases.

    Running requests finish on it.

    Example: veneer adapters rm pirate --yes
    """
    targets.to_name(name)
    if not yes:
        if not sys.stdin.isatty():
            raise BadArgument("Nobody can be asked here: add --yes to remove it.")
        typer.confirm(f"Remove {name} with all its revisions and aliases?", abort=True)
    api.delete(name)
    typer.echo(f"{name} is removed.")


def _show_aliases(adapter: Adapter, alias: str | None, as_json: bool) -> None:
    found = [each for each in adapter.aliases.values() if alias in (None, each.alias)]
    if alias is not None and not found:
        raise ClientError(f"{adapter.name} has no alias {alias}.")
    if as_json:
        shown = [each.as_json() for each in found]
        return _print_json(shown[0] if alias else {"object": "list", "data": shown})
    return tables.show(tables.aliases_table(found))


def _print_alias(alias: Alias, as_json: bool) -> None:
    if as_json:
        return _print_json(alias.as_json())
    return typer.echo(tables.alias_line(alias))


def _print_made(name: str, document: Adapter | Revision | None, revision: Revision | None) -> None:
    if document is not None:
        _print_json(document.as_json())
    elif revision is not None:
        tables.show(tables.revision_facts(name, revision))
    else:
        typer.echo(f"These files are a revision that {name} already has; none was made.")


def _print_listing(
    listing: Listing[Any], to_table: Callable[[Iterable[Any]], Any], as_json: bool
) -> None:
    if as_json:
        rows = [row.as_json() for row in listing.rows]
        return _print_json({"object": "list", "data": rows, "has_more": not listing.complete})
    tables.show(to_table(listing.rows))
    if not listing.complete:
        typer.echo("There are more; raise --limit.", err=True)
    return None


def _print_json(document: Any) -> None:
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))
