"""What all commands share that call a running server: their options, the connection, the output."""

import functools
import inspect
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from stamina.instrumentation import set_on_retry_hooks

from veneer_server.commands.client import tables, targets
from veneer_server.commands.client.connection import Connection
from veneer_server.commands.client.failures import BadArgument, ClientError, LeftRunning
from veneer_server.commands.client.routes import Listing
from veneer_server.commands.terminal import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_USAGE,
    ConfigOption,
    failure,
    load,
)

_SERVER = "Server"
UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url",
        help="URL of the server. Default: from the settings, then OPENAI_BASE_URL.",
        rich_help_panel=_SERVER,
    ),
]
KeyOption = Annotated[
    str | None,
    typer.Option(
        "--key", help="Key of the server. Default: server.api_key.", rich_help_panel=_SERVER
    ),
]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Print at most this many rows.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


@contextmanager
def connected(url: str | None, key: str | None, config: Path | None) -> Iterator[Connection]:
    """Give a connection to the server that is meant; a failure ends the command with a sentence."""
    settings = load(config, {}).server
    known_key = settings.api_key.get_secret_value() if settings.api_key else None
    set_on_retry_hooks(())  # the user need not know that a request was repeated
    try:
        address = url or targets.address(settings, os.environ.get("OPENAI_BASE_URL"))
        with Connection(address, key or known_key) as connection:
            yield connection
    except ClientError as error:
        raise failure(str(error), _exit_code(error)) from error
    except KeyboardInterrupt:
        raise failure("Stopped.", EXIT_INTERRUPTED) from None


def _exit_code(error: ClientError) -> int:
    if isinstance(error, LeftRunning):
        return EXIT_INTERRUPTED
    return EXIT_USAGE if isinstance(error, BadArgument) else EXIT_FAILED


def commands(
    group: typer.Typer, to_api: Callable[[Connection], Any]
) -> Callable[[str], Callable[[Callable[..., None]], Callable[..., None]]]:
    """Return the decorator that registers a command of ``group`` under a name.

    The function gets ``to_api`` of the connection as its first argument. The command also gets the
    options --url, --key and --config.
    """

    def command(name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
        def register(body: Callable[..., None]) -> Callable[..., None]:
            @functools.wraps(body)
            def run(url: str | None, key: str | None, config: Path | None, **given: Any) -> None:
                with connected(url, key, config) as connection:
                    body(to_api(connection), **given)

            own = list(inspect.signature(body).parameters.values())[1:]
            shared = [
                inspect.Parameter(
                    option, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind
                )
                for option, kind in (
                    ("url", UrlOption),
                    ("key", KeyOption),
                    ("config", ConfigOption),
                )
            ]
            # Typer reads the signature. Several commands cannot have one option in another way.
            run.__signature__ = inspect.Signature([*own, *shared])  # type: ignore[attr-defined]
            group.command(name)(run)
            return body

        return register

    return command


def print_listing(
    listing: Listing[Any], to_table: Callable[[Iterable[Any]], Any], as_json: bool
) -> None:
    """Print the rows of a listing, and say when there are more."""
    if as_json:
        rows = [row.as_json() for row in listing.rows]
        return print_json({"object": "list", "data": rows, "has_more": not listing.complete})
    tables.show(to_table(listing.rows))
    if not listing.complete:
        typer.echo("There are more rows; raise --limit to see them.", err=True)
    return None


def print_json(document: Any) -> None:
    """Print ``document`` for programs, and for people who look closely."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))
