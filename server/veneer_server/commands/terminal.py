"""What all commands share: they read the settings, and they fail with a plain message."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from veneer_server.settings import Settings, SettingsError

EXIT_FAILED, EXIT_USAGE, EXIT_ENGINE, EXIT_IN_USE, EXIT_CONFIG = 1, 2, 70, 75, 78
EXIT_PORT, EXIT_INTERRUPTED = 98, 130
"""Sources, in order: custom; click; EX_TEMPFAIL and EX_CONFIG of sysexits.h; EADDRINUSE of errno.h;
128 + SIGINT."""

ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", help="YAML file of settings.", dir_okay=False)
]


def load(file: Path | None, flags: Mapping[str, Mapping[str, Any]]) -> Settings:
    """Return the settings, as ``read`` does; wrong ones end the command with ``EXIT_CONFIG``."""
    try:
        return read(file, flags)
    except SettingsError as error:
        raise failure(f"The settings cannot be used:\n{error}", EXIT_CONFIG) from error


def read(file: Path | None, flags: Mapping[str, Mapping[str, Any]]) -> Settings:
    """Return the settings; a flag that is None was not given.

    Raises:
        SettingsError: the settings cannot be used.
    """
    given = {
        section: {key: value for key, value in fields.items() if value is not None}
        for section, fields in flags.items()
    }
    return Settings.load(file=file, flags=given)


def failure(message: str, code: int) -> typer.Exit:
    """Print ``message`` on standard error; the caller raises the result to exit with ``code``."""
    Console(stderr=True).print(Text(message, style="red"), soft_wrap=True)
    return typer.Exit(code)
