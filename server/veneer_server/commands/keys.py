"""``veneer keys``: make, list and revoke the keys of a running server."""

from typing import Annotated

import typer

from veneer_server.commands import remote
from veneer_server.commands.client import tables
from veneer_server.commands.client.routes import KeysApi
from veneer_server.commands.client.times import to_seconds
from veneer_server.commands.remote import Json, Limit, print_json, print_listing
from veneer_server.tenancy.scopes import DEFAULT_SCOPES, Scope

group = typer.Typer(
    help="Make, list and revoke the keys of a running server.\n\n"
    "A key says who may do what: its scopes, the adapters it may use, and the tenant whose "
    "namespace it may publish in. As long as nobody made a key, and server.api_key is not set, "
    "everybody who reaches the server may do everything.\n\n"
    "The commands call the server of the settings with server.api_key; use --url and --key for "
    "another one. They need the scope keys:admin.",
    no_args_is_help=True,
)
command = remote.commands(group, KeysApi)


@command("create")
def create(  # noqa: PLR0913, PLR0917 - one parameter for each option
    api: KeysApi,
    name: Annotated[str, typer.Argument(help="A name, so that you know it again.")] = "",
    tenant: Annotated[
        str | None,
        typer.Option("--tenant", help="Whose key it is. Default: the operator's, so yours."),
    ] = None,
    scope: Annotated[
        list[Scope] | None,
        typer.Option(
            "--scope", help=f"What it may do; repeatable. Default: {', '.join(DEFAULT_SCOPES)}."
        ),
    ] = None,
    adapter: Annotated[
        list[str] | None,
        typer.Option(
            "--adapter",
            help="What it may use; repeatable: base, a name, *, TEAM/*. Default: the base, all "
            "adapters without a namespace, and the tenant's own.",
        ),
    ] = None,
    expires: Annotated[
        str | None, typer.Option("--expires", help="After how long it ends: 12h, 30d. Never.")
    ] = None,
    rpm: Annotated[int | None, typer.Option("--rpm", min=1, help="Requests per minute.")] = None,
    tpm: Annotated[int | None, typer.Option("--tpm", min=1, help="Tokens per minute.")] = None,
    concurrency: Annotated[
        int | None, typer.Option("--concurrency", min=1, help="Requests at the same time.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a key, and print it. Nobody can show it again, so keep it now.

    With the first key the server begins to ask for one. So the first key needs the scope
    keys:admin, or the server has server.api_key.

    Example: veneer keys create ci --tenant acme --scope infer --expires 30d
    """
    made = api.create(
        {
            "name": name,
            "tenant": tenant,
            "scopes": [str(each) for each in scope] if scope else None,
            "adapters": adapter or None,
            "expires_in_s": to_seconds(expires, "--expires") if expires else None,
            "rpm": rpm,
            "tpm": tpm,
            "concurrency": concurrency,
        }
    )
    if as_json:
        return print_json(made.as_json())
    tables.show(tables.keys_table([made]))
    typer.echo(f"\n{made.key}\n")
    return typer.echo("Keep it now: the server has only a digest of it.", err=True)


@command("list")
def list_keys(api: KeysApi, limit: Limit = None, as_json: Json = False) -> None:
    """List all keys, expired and revoked ones too, the newest first; never their texts.

    Example: veneer keys list --json
    """
    print_listing(api.keys(limit), tables.keys_table, as_json)


@command("revoke")
def revoke(
    api: KeysApi, key_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the key.")]
) -> None:
    """Make a key useless, on every server of the catalog within a second.

    Example: veneer keys revoke k7q2m5xa
    """
    api.revoke(key_id)
    typer.echo(f"The key {key_id} is revoked.")
