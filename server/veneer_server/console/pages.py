"""From values to HTML. Every value is escaped: names and reasons are texts of strangers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from veneer_server import __version__
from veneer_server.console import formats
from veneer_server.console.static_files import address

FOLDER = Path(__file__).parent / "templates"


def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    writers = (
        formats.size, formats.seconds, formats.rate, formats.count, formats.moment, formats.ago,
    )  # fmt: skip
    made.filters.update({writer.__name__: writer for writer in writers})
    made.globals.update(static=address, version=__version__)
    return made


_ENVIRONMENT = _environment()


def render(template: str, values: Mapping[str, Any], status: int = 200) -> HTMLResponse:
    """Return a page that no cache keeps."""
    html = _ENVIRONMENT.get_template(template).render(values)
    return HTMLResponse(html, status, headers={"cache-control": "no-store"})
