"""The console as a browser asks it, without a browser."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from support import builders
from support.serving import Served, until_served
from veneer_server.tenancy.scopes import Scope

KEY = "a-key-that-nobody-guesses-in-time"
XSS = "<img src=x onerror=alert(1)>"
"""A name, a reason or an answer that would run a script, if a page believed it."""
SAME = {"sec-fetch-site": "same-origin"}


@asynccontextmanager
async def browser(url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client that sends what a browser sends from a page of the console."""
    async with httpx.AsyncClient(base_url=url, headers=SAME, timeout=60) as client:
        yield client


async def add(served: Served, *names: str) -> None:
    """Put a sound adapter of each name into the watched folder, and wait until all are served."""
    for number, name in enumerate(names):
        builders.write(served.adapters / name, seed=number)
    await until_served(served, *names)


async def sign_in(client: httpx.AsyncClient, key: str) -> httpx.Response:
    """Send the form with ``key``; the client keeps the cookie."""
    return await client.post("/console/sign-in", data={"key": key})


async def make_key(served: Served, *scopes: Scope, **fields: Any) -> str:
    """Make a key with these scopes, and return its text."""
    assert served.parts is not None
    keyring = served.parts.server.keyring
    asked = {"tenant": None, "name": "", "patterns": None, "expires": None, **fields}
    _, text = await keyring.create(scopes=scopes, **asked)
    return text
