"""Pages for people who open the server's address in a browser: what this is, and its API.

They load nothing from anywhere. They are there on loopback, or where ``server.pages`` says so.
"""

from html import escape
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from veneer_server import __version__
from veneer_server.api.deps import ServerDep, needs
from veneer_server.api.pages.describing import describe

router = APIRouter(dependencies=[needs(None)])

_FRAME = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Veneer</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
  color: #1c1c1c; background: #fff }}
code, pre {{ font: 14px/1.4 ui-monospace, monospace; background: #f2f2f2 }}
code {{ padding: 0.1em 0.3em }} pre {{ padding: 1em; overflow-x: auto }}
td {{ padding: 0.2em 1em 0.2em 0; vertical-align: top }}
</style></head><body>
{body}
</body></html>
"""
_HOME = """<h1>Veneer {version}</h1>
<p>This is a server for language models with the API of OpenAI and Anthropic. Its base model is
<code>{model}</code>; each request chooses an adapter by <code>model</code>.</p>
<pre>export OPENAI_BASE_URL={url}v1</pre>
{console}<p><a href="docs">The API</a> · <a href="openapi.json">as an OpenAPI document</a> ·
<a href="v1/models">models and adapters</a> · <a href="readyz">readiness</a> ·
<a href="metrics">metrics</a></p>"""

_CONSOLE = """<p><a href="console/">The console</a> shows every adapter and how it does.</p>
"""


@router.get("/", response_class=HTMLResponse)
async def home(request: Request, server: ServerDep) -> HTMLResponse:
    """Return the page that says what this server is."""
    facts = {"version": __version__, "model": server.engine.model.id, "url": request.base_url}
    shown = {name: escape(str(fact)) for name, fact in facts.items()}
    console = _CONSOLE if server.settings.server.shows_console() else ""
    return HTMLResponse(_FRAME.format(body=_HOME.format(console=console, **shown)))


@router.get("/docs", response_class=HTMLResponse)
async def docs(request: Request) -> HTMLResponse:
    """Return the API as a page."""
    return HTMLResponse(_FRAME.format(body=_to_html(describe(request.app.routes))))


@router.get("/openapi.json")
async def openapi(request: Request) -> dict[str, Any]:
    """Return the API as an OpenAPI document."""
    return describe(request.app.routes)


def _to_html(document: dict[str, Any]) -> str:
    rows = [
        f"<tr><td><code>{method.upper()}</code></td><td><code>{escape(path)}</code></td>"
        f"<td>{escape(operation['description'])}</td></tr>"
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    ]
    return f"<h1>The API</h1>\n<table>{''.join(rows)}</table>"
