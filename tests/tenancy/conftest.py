"""Two tenants, ``acme`` and ``bell``, on one server of the echo engine."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest_asyncio

from support import builders
from support.fine_tuning import STAND_IN
from support.serving import Served, serve_echo, until_served

OPERATOR = "sk-the-operators-own-key"
NAMES = ("plain", "acme/own", "acme/new", "bell/own", "bell/secret-plan")


@dataclass(frozen=True)
class Tenants:
    """The server, and a client for each key."""

    served: Served
    operator: httpx.AsyncClient
    acme: httpx.AsyncClient
    bell: httpx.AsyncClient
    client: Callable[[str], httpx.AsyncClient]
    """Makes a client with another key."""

    async def key(self, **asked: Any) -> httpx.AsyncClient:
        """Return a client with a new key."""
        made = await self.operator.post("/v1/keys", json=asked)
        assert made.status_code == 201, made.text
        return self.client(made.json()["key"])


@pytest_asyncio.fixture
async def tenants(tmp_path: Path) -> AsyncIterator[Tenants]:
    for number, name in enumerate(NAMES):
        folder = tmp_path / "adapters" / name
        builders.write(folder, seed=number)
    async with AsyncExitStack() as stack:
        served = await stack.enter_async_context(
            serve_echo(
                tmp_path,
                server={"api_key": OPERATOR},
                training={"command": STAND_IN},
            )
        )
        await until_served(served, *NAMES)

        def client(key: str) -> httpx.AsyncClient:
            made = httpx.AsyncClient(
                base_url=served.url, headers={"authorization": f"Bearer {key}"}, timeout=30
            )
            stack.push_async_callback(made.aclose)
            return made

        operator = client(OPERATOR)
        every = [scope for scope in SCOPES if scope != "keys:admin"]
        ours = Tenants(served, operator, operator, operator, client)
        acme = await ours.key(tenant="acme", scopes=every)
        bell = await ours.key(tenant="bell", scopes=every)
        yield Tenants(served, operator, acme, bell, client)


SCOPES = (
    *("infer", "models:read", "adapters:read", "adapters:write"),
    *("keys:admin", "usage", "metrics"),
)
