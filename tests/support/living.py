"""A server on the echo engine as it is after some days, and every screen of its console."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from support import batching, builders, fine_tuning
from support.serving import Served, serve_echo, until_served

SCREENS = {
    "Overview": "",
    "Variants": "variants",
    "a variant": "variants/pirate",
    "a failed variant": "variants/cut",
    "a doctor's report": "reports/pirate",
    "Compare": "compare",
    "Rollouts": "rollouts",
    "Training": "training",
    "a job": "training/{job}",
    "Batches": "batches",
    "a batch": "batches/{batch}",
    "Keys": "keys",
    "Usage": "usage",
    "Sign in": "sign-in",
    "an error": "nothing-is-here",
}
"""Every screen, with its address below ``/console/``."""
_LONG = "a-variant-with-a-rather-long-name-as-teams-like-to-give-them-01"


@dataclass(frozen=True, slots=True)
class LivedIn:
    """Where the server answers, and its screens by name."""

    url: str
    screens: Mapping[str, str]


@asynccontextmanager
async def living_in(folder: Path) -> AsyncIterator[LivedIn]:
    """Serve a rollout, a failed adapter, a long name, some usage, a job and a batch."""
    other = builders.write(folder / "shelf" / "other", seed=3)
    async with (
        serve_echo(
            folder,
            adapters={"roots": [folder / "shelf"]},
            training={"command": fine_tuning.STAND_IN},
        ) as served,
        httpx.AsyncClient(base_url=served.url, timeout=60) as client,
    ):
        builders.write(served.adapters / "pirate")
        builders.write(served.adapters / _LONG, seed=5)
        builders.write(served.adapters / "cut", weights=b"short")
        await until_served(served, "pirate", _LONG)
        await _split(client, other)
        ids = {"job": await _learn(client), "batch": await _answer(client)}
        await _flush(served)
        yield LivedIn(served.url, {name: at.format(**ids) for name, at in SCREENS.items()})


async def _split(client: httpx.AsyncClient, other: Path) -> None:
    body = {"source": str(other), "alias": "next"}
    made = await client.post("/v1/adapters/pirate/revisions", json=body)
    assert made.status_code == 201, made.text
    targets = [{"revision": 1, "weight": 90}, {"revision": 2, "weight": 10}]
    moved = await client.put("/v1/adapters/pirate/aliases/live", json={"targets": targets})
    assert moved.status_code == 200, moved.text
    said = {"model": "pirate", "messages": [{"role": "user", "content": "hi"}]}
    assert (await client.post("/v1/chat/completions", json=said)).status_code == 200


async def _learn(client: httpx.AsyncClient) -> str:
    job = await fine_tuning.ended(client, (await fine_tuning.create(client))["id"])
    return str(job["id"])


async def _answer(client: httpx.AsyncClient) -> str:
    lines = [batching.line(1), batching.line(2)]
    return str((await batching.ended(client, (await batching.create(client, lines))["id"]))["id"])


async def _flush(served: Served) -> None:
    assert served.parts is not None
    await served.parts.server.ledger.flush()
