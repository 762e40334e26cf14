"""What every command does alike: read the settings, and fail with one sentence."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from veneer_server.settings import Settings, SettingsError

EXIT_FAILED, EXIT_USAGE, EXIT_IN_USE, EXIT_CONFIG = 1, 2, 75, 78
EXIT_PORT, EXIT_INTERRUPTED = 98, 130
"""Source: custom; click's; sysexits.h EX_TEMPFAIL, EX_CONFIG; errno EADDRINUSE; 128 + SIGINT."""

ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", help="YAML file of settings.", dir_okay=False)
]


def load(file: Path | None, flags: Mapping[str, Mapping[str, Any]]) -> Settings:
    """Return the settings; flags that are None were not given."""
    given = {
        section: {key: value for key, value in fields.items() if value is not None}
        for section, fields in flags.items()
    }
    try:
        return Settings.load(file=file, flags=given)
    except SettingsError as error:
        raise failure(f"The settings cannot be used:\n{error}", EXIT_CONFIG) from error


def failure(message: str, code: int) -> typer.Exit:
    """Print ``message`` on standard error; raise what is returned to end with ``code``."""
    Console(stderr=True).print(Text(message, style="red"), soft_wrap=True)
    return typer.Exit(code)
